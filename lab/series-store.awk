# SPDX-License-Identifier: GPL-2.0
# series-store.awk - turns git format-patch's output into stored patches
#
#	awk -f series-store.awk NEW/*.patch
#
# The patches come with neither diffstat nor signature. They are written to
# the folder $STORE under their names, with an Adds: line for each created
# file. For each of those a line goes to the output: mode, blob, path, with
# tabs between.

FNR == 1 {
	finish()
	name = FILENAME
	sub(/.*\//, "", name)
	out = ENVIRON["STORE"] "/" name
	part = "head"
}

/^diff --git / {
	if (part == "message")
		print "---" > out
	part = "header"
	path = substr($0, 14, (length($0) - 16) / 2)
	if ($0 != "diff --git a/" path " b/" path)
		fail("a file name that git quotes: " substr($0, 12))
	git_line = $0
	next
}

# Compose says what the encoding is.
part == "head" && /^(MIME-Version|Content-Type|Content-Transfer-Encoding): / { next }

# format-patch folds a long From: header; a stored patch has it in one line
part == "head" && /^From: / { from = $0; next }
part == "head" && from != "" && /^[ \t]/ {
	sub(/^[ \t]+/, " ")
	from = from $0
	next
}
part == "head" && from != "" {
	print from > out
	from = ""
}

part == "head" && $0 == "" { part = "message" }

part == "head" {
	print > out
	next
}

part == "message" {
	for (; empty_lines; empty_lines--)
		print "" > out
	if ($0 == "")
		empty_lines++
	else
		print > out
	next
}

/^(GIT binary patch|Binary files )/ { fail(path " is binary; the series holds text only") }

part == "header" && /^new file mode / {
	if ($4 !~ /^100/)
		fail(path " is no plain file; the series holds text files only")
	if (path in created)
		fail(path " is created a second time; fold the patches together")
	created[path] = 1
	mode = $4
	part = "created"
	print "Adds: " path > out
	next
}

part == "created" {
	if ($1 == "index") {
		sub(/.*\.\./, "", $2)
		print mode "\t" $2 "\t" path
	}
	next
}

part == "header" {
	diff[++diff_lines] = git_line
	part = "diff"
}

{ diff[++diff_lines] = $0 }

END {
	if (!failed)
		finish()
}

function finish(   i) {
	if (part == "message")
		fail("changes nothing; a series holds no empty commit")
	while (diff_lines && diff[diff_lines] == "")
		diff_lines--
	if (diff_lines)
		print "" > out
	for (i = 1; i <= diff_lines; i++)
		print diff[i] > out
	if (out != "")
		close(out)
	diff_lines = empty_lines = 0
}

function fail(what) {
	print name ": " what | "cat >&2"
	close("cat >&2")
	failed = 1
	exit 1
}
