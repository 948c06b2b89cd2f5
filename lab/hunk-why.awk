# SPDX-License-Identifier: GPL-2.0
# hunk-why.awk - says which hunk does not apply, and why
#
#	awk -f hunk-why.awk PATCH FILE
#
# FILE is what the patch is applied to; $FILE_PATH is its path in the tree and
# $OLD_LINE the line where the hunk begins by its header, as git apply reports
# it. The place in FILE that is most like what the hunk expects is compared
# with that.

FNR == 1 { input++ }

input == 1 && /^diff --git / {
	here = $0 == "diff --git a/" ENVIRON["FILE_PATH"] " b/" ENVIRON["FILE_PATH"]
	inside = 0
}

input == 1 && here && /^@@ / {
	hunks++
	split(substr($2, 2), range, ",")
	inside = !number && range[1] == ENVIRON["OLD_LINE"]
	if (inside) {
		number = hunks
		header = $0
	}
	next
}

input == 1 && inside && /^( |-|$)/ { old[++wanted] = substr($0, 2) }

input == 2 { line[++lines] = $0 }

END {
	if (!number) {
		print "  why    does not apply at line " ENVIRON["OLD_LINE"]
		exit
	}
	print "  hunk   " number " of " hunks ": " header
	at = best_place()
	for (i = 1; i <= wanted; i++)
		if (at + i - 1 > lines || line[at + i - 1] != old[i])
			break
	if (i > wanted)
		print "  why    its old lines stand at line " at ", but are expected at the " (range_starts_file() ? "begin" : "end") " of the file"
	else {
		print "  why    line " at + i - 1 " is another"
		print "         expected: " old[i]
		print "         found:    " (at + i - 1 > lines ? "the end of the file" : line[at + i - 1])
	}
}

function range_starts_file() {
	return ENVIRON["OLD_LINE"] <= 1
}

# The line of FILE from where on most lines agree, the nearest of such.
function best_place(   at, i, n, most, best, far, nearest) {
	best = ENVIRON["OLD_LINE"] + 0
	for (at = 1; at <= lines; at++) {
		n = 0
		for (i = 1; i <= wanted; i++)
			if (line[at + i - 1] == old[i] && old[i] ~ /[^ \t{}]/)
				n++
		far = at - ENVIRON["OLD_LINE"]
		far = far < 0 ? -far : far
		if (n > most || n == most && n && far < nearest) {
			most = n
			best = at
			nearest = far
		}
	}
	return best
}
