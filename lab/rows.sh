# SPDX-License-Identifier: GPL-2.0
# The rows of lab's tables of tests that are for a base. Sourced, after lab/lib.sh, with
# base set by the caller.

# rows FILE: those of its rows that are for the base. "full:" before the bases says
# that only FULL=1 runs them.
rows() {
	awk -F'\t' -v base="$base" -v full="${FULL:-0}" '
	/^#/ || NF < 4 { next }
	{ bases = $1 }
	sub(/^full:/, "", bases) && full != 1 { next }
	bases == "*" || index("," bases ",", "," base ",")' "$TOP/lab/$1"
}

# The rows of lab/nested-tests for the base, one line for each combination: kernel,
# harts, seconds, name, command. "+nacl-*" is each set of features but all. Of rows
# that say the same of a kernel, the first counts.
nested_rows() {
	rows nested-tests | awk -F'\t' -v OFS='\t' '
	function row(k, h) {
		if (!seen[k, h, $5]++)
			print k, h, $4, $5, $6
	}
	{
		nk = split($2, k, ","); nh = split($3, h, ",")
		for (i = 1; i <= nk; i++) for (j = 1; j <= nh; j++) {
			if (sub(/\+nacl-\*$/, "", k[i])) sets[i] = 1
			if (!(i in sets))
				row(k[i], h[j])
			else for (m = 0; m < 15; m++)
				row(sprintf("%s+nacl-%x", k[i], m), h[j])
		}
		delete sets
	}'
}
