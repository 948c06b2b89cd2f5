# SPDX-License-Identifier: GPL-2.0
# patch.awk - reader and checker of the stored patches of one series
#
#	awk -f patch.awk -f series-X.awk patches/BASE/*.patch
#
# The first malformed line ends the run with "file:line: what is wrong" and
# status 1. The program after this one sees every line with
#	event	from, head, subject, body, cut (the line ---), adds, file (a
#		diff --git line), meta (the rest of its header), hunk (an @@
#		line), line (of a hunk), blank; overview (see lab/refresh)
#	number	of the patch, 0 for the cover letter; name: its file's name
#	title	its subject, unfolded, from the first body line on
#	author	its From: header
#	path	added or changed file
#	hunk_line, new_start, new_count: of the hunk
#	sign	the first character of a hunk's line; the rest is text
# and defines hunk_end(), file_end() (there old_mode, new_mode and deleted
# describe the file) and patch_end(), which are called after the last line of
# each, and END, which must begin with: if (failed) exit 1

FNR == 1 {
	if (file != "")
		end_patch()
	begin_patch()
}

{
	last_line = FNR
	if ($0 ~ /\r$/)
		fail(FNR, "the line ends in CR LF, which git am would not keep")
	if (part == "head")
		in_head()
	else if (part == "body")
		in_body()
	else if (part == "notes")
		in_notes()
	else if (part == "file")
		in_file()
	else
		in_hunk()
}

END {
	if (failed)
		exit 1
	if (file != "")
		end_patch()
}

function fail_at(where, what) {
	print where ": " what | "cat >&2"
	close("cat >&2")
	failed = 1
	exit 1
}

function fail(line, what) {
	fail_at(file ":" line, what)
}

function begin_patch() {
	file = FILENAME
	name = file
	sub(/.*\//, "", name)
	if (name !~ /^[0-9][0-9][0-9][0-9]-[A-Za-z0-9._-]+\.patch$/)
		fail(1, "not named like 0001-what-it-does.patch")
	number = substr(name, 1, 4)
	sub(/^0+/, "", number)		# or some awk reads it as octal
	number += 0
	if (number != expected)
		fail(1, sprintf("numbered %04d where %04d is due%s", number, expected, expected ? "" : ", the cover letter"))
	if (!number && name != "0000-cover-letter.patch")
		fail(1, "0000 is for the cover letter, 0000-cover-letter.patch")
	expected = number + 1

	part = "head"
	header = author = title = has_date = signed = body_lines = changes = ""
	split("", seen)
}

function end_patch() {
	if (part == "head")
		fail(last_line, "the mail ends within its headers")
	if (part == "hunk")
		end_hunk()
	if (part == "file" || part == "hunk")
		end_file()
	if (number && part == "body")
		fail(last_line, "no line --- between the message and the changes")
	if (number && !changes)
		fail(last_line, "changes nothing: there is neither an Adds: line nor a hunk")
	patch_end()
}

function in_head() {
	event = "head"
	if (FNR == 1) {
		if ($0 !~ /^From [0-9a-f]+ Mon Sep 17 00:00:00 2001$/)
			fail(1, "a patch begins with: From <commit> Mon Sep 17 00:00:00 2001")
		event = "from"
	} else if ($0 == "") {
		if (author == "")
			fail(FNR, "no From: header above")
		if (has_date == "")
			fail(FNR, "no Date: header above")
		if (title == "")
			fail(FNR, "no Subject: header above")
		if (title ~ /^\[/)
			fail(FNR, "a subject that begins with [ loses that on git am")
		if (title ~ /\*\*\* SUBJECT HERE \*\*\*/)
			fail(FNR, "the subject is still the template's")
		part = event = "body"
	} else if ($0 ~ /^[ \t]/) {
		if (header == "")
			fail(FNR, "continues a header, but there is none above")
		if (header == "Subject:") {
			event = "subject"
			title = title $0
		}
	} else if ($0 ~ /^[A-Za-z-]+:/) {
		header = $1
		if (header == "From:")
			author = read_author()
		else if (header == "Date:")
			has_date = 1
		else if (header == "Subject:") {
			event = "subject"
			title = read_subject()
		} else if (tolower(header) ~ /^(mime-version|content-.*):$/)
			fail(FNR, "compose itself tells the encoding, UTF-8; leave " header " out")
		else if (number)
			fail(FNR, "git am keeps no " header " header; store From:, Date: and Subject: only")
	} else
		fail(FNR, "neither a mail header nor the empty line that ends them")
}

function read_author() {
	if ($0 !~ /^From: .*[^ ].* <[^ <>]+@[^ <>]+>$/)
		fail(FNR, "no From: Name <address>")
	if ($0 ~ /=\?/)
		fail(FNR, "an encoded header; write it in plain UTF-8")
	return substr($0, 7)
}

function read_subject() {
	if ($0 !~ /^Subject: \[PATCH\] [^ ]/)
		fail(FNR, "no Subject: [PATCH] title")
	if ($0 ~ /=\?/)
		fail(FNR, "an encoded header; write it in plain UTF-8")
	return substr($0, 18)
}

function in_body() {
	event = "body"
	if ($0 == "---") {
		if (number && !signed)
			fail(FNR, "no Signed-off-by: above")
		part = "notes"
		event = "cut"
		return
	}
	if ($0 ~ /^(diff -|Index: |--- [^ \t]|---[ \t]*$)/)
		fail(FNR, "git am takes this line for the end of the message")
	if ($0 ~ /^From .*[0-9]:[0-9][0-9] [0-9][0-9]/)
		fail(FNR, "git am takes this line for the begin of another mail")
	if (body_lines == "" && $0 ~ /^>?(From|Subject|Date): /)
		fail(FNR, "git am takes this line for a header")
	if ($0 ~ /\*\*\* BLURB HERE \*\*\*/)
		fail(FNR, "the text is still the template's")
	if ($0 ~ /^Signed-off-by: [^ ].* <.+>$/)
		signed = 1
	if ($0 != "")
		body_lines++
}

function in_notes() {
	if ($0 == "")
		event = "blank"
	else if (!number) {
		event = "overview"
		if ($0 !~ /^(Overview: [0-9a-f]+$| )/)
			fail(FNR, "only what lab/refresh writes stands below the --- of a cover letter")
	} else if ($0 ~ /^diff --git /)
		begin_file()
	else if ($0 ~ /^Adds: /) {
		event = "adds"
		path = substr($0, 7)
		check_path(path)
		if (path in added)
			fail(FNR, path " is added already at " added[path])
		added[path] = file ":" FNR
		changes = 1
	} else
		fail(FNR, "only Adds: lines stand between --- and the first diff")
}

# A path may be any in the tree that git shows unquoted.
function check_path(p,   parts, n, i) {
	n = split(p, parts, "/")
	for (i = 1; i <= n; i++)
		if (parts[i] == "" || parts[i] == "." || parts[i] == ".." || tolower(parts[i]) == ".git")
			fail(FNR, "'" p "' is no path inside the tree")
	if (p == "" || p ~ /["\\]/ || p ~ /[[:cntrl:]]/)
		fail(FNR, "'" p "' is no path that git shows unquoted")
	if (p in seen)
		fail(FNR, p " is in this patch already, at line " seen[p])
	seen[p] = FNR
}

function begin_file(   rest, len) {
	part = "file"
	event = "file"
	rest = substr($0, 12)
	len = (length(rest) - 5) / 2
	path = substr(rest, 3, len)
	if (rest != "a/" path " b/" path)
		fail(FNR, "no diff --git a/PATH b/PATH; a rename is stored as deletion and Adds:")
	check_path(path)
	file_line = FNR
	old_mode = new_mode = deleted = has_old = has_new = hunks = ""
}

function end_file() {
	if (!hunks && !deleted && (old_mode == "" || old_mode == new_mode))
		fail(file_line, "neither hunks nor a change of mode follow")
	if (old_mode == "")
		old_mode = "100644"
	if (deleted)
		new_mode = ""
	else if (new_mode == "")
		new_mode = old_mode
	changes = 1
	file_end()
}

function in_file() {
	event = "meta"
	if ($0 ~ /^index [0-9a-f]+\.\.[0-9a-f]+( [0-7]+)?$/) {
		if (NF == 3)
			old_mode = new_mode = $3
	} else if ($0 ~ /^old mode [0-7]+$/)
		old_mode = $3
	else if ($0 ~ /^new mode [0-7]+$/)
		new_mode = $3
	else if ($0 ~ /^deleted file mode [0-7]+$/) {
		old_mode = $4
		deleted = 1
	} else if ($0 == "--- a/" path || $0 == "--- a/" path "\t")
		has_old = 1
	else if (deleted ? $0 == "+++ /dev/null" : $0 == "+++ b/" path || $0 == "+++ b/" path "\t")
		has_new = 1
	else if ($0 ~ /^(---|\+\+\+) /)
		fail(FNR, "not " path " as in the diff --git line")
	else if ($0 ~ /^new file mode /)
		fail(FNR, "a new file is stored whole at " path " and named by a line: Adds: " path)
	else if ($0 ~ /^(rename|copy|similarity|dissimilarity) /)
		fail(FNR, "a rename or copy is stored as deletion and Adds:")
	else if ($0 ~ /^(GIT binary patch|Binary files )/)
		fail(FNR, path " is binary; the series holds text only")
	else if (!next_part())
		fail(FNR, "no line of a git diff header")
}

# What may follow a file's header or hunks: a hunk, a file, an empty line.
function next_part() {
	if ($0 ~ /^@@ /)
		begin_hunk()
	else if ($0 ~ /^diff --git /) {
		if (part == "hunk")
			end_hunk()
		end_file()
		begin_file()
	} else if ($0 == "")
		event = "blank"
	else
		return 0
	return 1
}

function begin_hunk(   old, new) {
	if ($0 !~ /^@@ -[0-9]+(,[0-9]+)? \+[0-9]+(,[0-9]+)? @@/)
		fail(FNR, "no hunk header: @@ -line,count +line,count @@")
	if (!has_old || !has_new)
		fail(FNR, "no --- and +++ lines before the first hunk")
	if (part == "hunk")
		end_hunk()
	part = "hunk"
	event = "hunk"
	hunks++
	hunk_line = FNR
	if (split(substr($2, 2), old, ",") < 2)
		old[2] = 1
	if (split(substr($3, 2), new, ",") < 2)
		new[2] = 1
	old_start = old[1] + 0
	old_count = old_left = old[2] + 0
	new_count = new_left = new[2] + 0
	new_start = new[1] + 0
	kept = 0
}

function end_hunk() {
	if (old_left || new_left)
		bad_count("less")
	if (!kept && old_start)
		fail(hunk_line, "a hunk without any old line: git am cannot place it")
	hunk_end()
}

function bad_count(what) {
	fail(hunk_line, "the hunk has " what " than the " old_count " old and " new_count " new lines of its header")
}

function in_hunk() {
	sign = $0 == "" ? " " : substr($0, 1, 1)
	if (!old_left && !new_left && sign != "\\") {
		if (!next_part()) {
			if (sign ~ /[ +-]/)
				bad_count("more")
			fail(FNR, "what follows the hunk is neither a hunk nor a diff")
		}
		return
	}
	event = "line"
	text = substr($0, 2)
	if (sign == " " || sign == "-") {
		old_left--
		kept++
	}
	if (sign == " " || sign == "+")
		new_left--
	if (sign !~ /[ +\\-]/)
		bad_count("less")
	if (old_left < 0 || new_left < 0)
		bad_count("more")
}
