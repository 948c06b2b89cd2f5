# SPDX-License-Identifier: GPL-2.0
# Judges one boot: splits kernel.log and results.log by test and prints a line
# "ID PASSED FAILED SKIPPED LOG" for each test of the plan, and one for the boot.
#
# usage: awk -v id=BASE/VARIANT/MACHINE -v dir=DIR -v finished=0|1
#	     -f results.awk lab/splats DIR/plan DIR/kernel.log DIR/results.log
# The log of a test is what it printed, then why it failed, then its splats.

function say(name, text) { print text > log_of(name) }
function log_of(name) { return dir "/" name ".log" }

# A report of the data race detector counts where KVM takes part in it
function end_race(    i) {
	if (race ~ /kvm_|kvm_riscv/)
		for (i = 1; i <= races; i++)
			splat[where] = splat[where] race_line[i] "\n"
	races = 0
	race = ""
	in_race = 0
}

FILENAME ~ /splats$/ { pattern = pattern (pattern ? "|" : "") $0; next }

FILENAME ~ /plan$/ {
	if ($1 ~ /^[0-9]+$/) { order[++tests] = $2 }
	next
}

FILENAME ~ /kernel.log$/ {
	if (!(where)) where = "boot"
	# A serial console ends its lines in CR LF
	sub(/\r$/, "")
	text = $0
	sub(/^\[[^]]*\] /, "", text)
	# What a test made the kernel say ends with it
	if (text ~ /^lab: @begin /) { split(text, w, " "); where = w[3]; tail = 0 }
	if (text ~ /BUG: KCSAN/) { in_race = 1 }
	if (in_race) {
		race = race text
		race_line[++races] = text
		if (text ~ /^={10}/ || races > 80) end_race()
		next
	}
	if (text ~ pattern) { tail = 40; hit[where]++ }
	if (tail > 0) { splat[where] = splat[where] $0 "\n"; tail-- }
	if (text ~ /^lab: @end /) { where = "boot"; tail = 0 }
	next
}

# results.log
$1 == "@begin" { now = $2; begun[now] = 1; printf "" > log_of(now); next }
$1 == "@end" { ended[$2] = $3; now = ""; next }
$1 == "@bad" { bad = bad $0 "\n"; next }
$1 == "@done" { next }
now != "" {
	say(now, $0)
	if ($0 ~ /^ok( |$)/) {
		lines[now]++
		if ($0 ~ /#[ \t]*[Ss][Kk][Ii][Pp]/) skipped[now]++; else passed[now]++
	} else if ($0 ~ /^not ok( |$)/) {
		lines[now]++
		if ($0 ~ /# (TODO|XFAIL)/) skipped[now]++; else failed[now]++
	} else if ($0 ~ /^1\.\.[0-9]+/) {
		match($0, /[0-9]+/)
		split($0, w, /[^0-9]+/)
		planned[now] = w[2]; has_plan[now] = 1
	} else if ($0 ~ /^Bail out!/) {
		failed[now]++
	}
}

END {
	if (in_race) end_race()
	for (i = 1; i <= tests; i++) judge(order[i])
	printf "" > log_of("boot")
	ok = 1
	if (!finished) { ok = 0; say("boot", "the machine did not finish its plan (see kernel.log)") }
	if (bad) { ok = 0; say("boot", bad) }
	if (splat["boot"]) { ok = 0; say("boot", "kernel: " splat["boot"]) }
	print id "/boot", ok ? 1 : 0, ok ? 0 : 1, 0, log_of("boot")
}

function judge(n,    p, f, s, why) {
	p = passed[n] + 0; f = failed[n] + 0; s = skipped[n] + 0
	if (!begun[n]) {
		printf "" > log_of(n)
		why = "it never began: the machine stopped before"
	} else if (!(n in ended)) {
		why = "the machine died while it ran (see kernel.log)"
	} else if (ended[n] == "exit=4" && !f) {
		if (!s) s = 1
	} else if (ended[n] != "exit=0") {
		why = "it ended with " ended[n]
	} else if (has_plan[n] && planned[n] != lines[n] + 0) {
		why = "it planned " planned[n] " results and gave " lines[n] + 0
	} else if (!lines[n]) {
		p = 1
	}
	if (why) { if (!f) f = 1; say(n, "FAILED: " why) }
	if (splat[n]) { f++; say(n, "FAILED: the kernel complained meanwhile:\n" splat[n]) }
	print id "/" n, p, f, s, log_of(n)
}
