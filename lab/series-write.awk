# SPDX-License-Identifier: GPL-2.0
# series-write.awk - after patch.awk: writes the composed series.
#
# $NEW is the folder to write to. $ADDS names the diff that creates all added
# files, $STATS the diffstats, each after a line "after N", $SHORTLOG the
# output of git shortlog; $TOTAL is the number of patches. $SERIES_ID tells
# whether the overview that the cover letter brings is that of this series.

BEGIN {
	total = ENVIRON["TOTAL"]
	read_adds(ENVIRON["ADDS"])
	read_stats(ENVIRON["STATS"])
}

event == "from" {
	out = ENVIRON["NEW"] "/" name
	lines = head_lines = sections = eight_bit = 0
}

# The title follows when it is known to be whole.
(event == "head" || event == "body") && title != "" && !titled {
	put_title()
	titled = 1
}

event == "body" && !head_lines { head_lines = lines }

event == "from" || event == "head" || event == "body" { put($0) }

event == "overview" && $1 == "Overview:" { is_own = $2 == ENVIRON["SERIES_ID"] }

event == "overview" && $1 != "Overview:" && is_own { overview[++overview_lines] = $0 }

event == "cut" && number {
	write_message()
	print "---" > out
	for (i = 1; i <= stat_lines[number]; i++)
		print stat[number, i] > out
	print "" > out
}

event == "adds" {
	section_path[++sections] = path
	is_added[sections] = 1
}

event == "file" {
	section_path[++sections] = path
	is_added[sections] = 0
	size[sections] = 0
}

event == "file" || event == "meta" || event == "hunk" || event == "line" {
	section[sections, ++size[sections]] = $0
}

function hunk_end() { }
function file_end() { }

function patch_end() {
	if (number)
		write_sections()
	else {
		put_overview()
		write_message()
	}
	close(out)
	titled = 0
}

function read_adds(diff,   line, p) {
	while ((getline line < diff) > 0) {
		if (line ~ /^diff --git /)
			p = substr(line, 14, (length(line) - 16) / 2)
		adds_text[p, ++adds_size[p]] = line
	}
	close(diff)
}

function read_stats(file_name,   line, words, n) {
	n = "none"
	while ((getline line < file_name) > 0) {
		if (line ~ /^(before|after) /) {
			split(line, words, " ")
			n = words[1] == "after" ? words[2] : "none"
		} else if (line != "")
			stat[n, ++stat_lines[n]] = line
	}
	close(file_name)
}

# The message is kept until all of it is known: its encoding goes in its head.
function put(line) {
	message[++lines] = line
	if (line ~ /[^\001-\177]/)
		eight_bit = 1
}

# Folded as git folds it.
function put_title(   line, words, n, i) {
	line = sprintf("Subject: [PATCH %0" length(total) "d/%d]", number, total)
	n = split(title, words, " ")
	for (i = 1; i <= n; i++) {
		if (length(line " " words[i]) > 78) {
			put(line)
			line = ""
		}
		line = line " " words[i]
	}
	put(line)
}

function put_overview(   line, file_name, i) {
	while (message[lines] == "")
		lines--
	put("")
	file_name = ENVIRON["SHORTLOG"]
	while ((getline line < file_name) > 0)
		put(line)
	close(file_name)
	for (i = 1; i <= overview_lines; i++)
		put(overview[i])
	for (i = 1; i <= stat_lines[0] && !overview_lines; i++)
		put(stat[0, i])
}

function write_message(   i) {
	for (i = 1; i <= lines; i++) {
		if (i == head_lines + 1 && eight_bit) {
			print "MIME-Version: 1.0" > out
			print "Content-Type: text/plain; charset=UTF-8" > out
			print "Content-Transfer-Encoding: 8bit" > out
		}
		print message[i] > out
	}
}

# In the order of the paths, as git has it.
function write_sections(   i, j, k, order) {
	for (i = 1; i <= sections; i++) {
		for (j = i; j > 1 && section_path[order[j - 1]] "" > section_path[i] ""; j--)
			order[j] = order[j - 1]
		order[j] = i
	}
	for (i = 1; i <= sections; i++) {
		k = order[i]
		for (j = 1; j <= (is_added[k] ? adds_size[section_path[k]] : size[k]); j++)
			print (is_added[k] ? adds_text[section_path[k], j] : section[k, j]) > out
	}
}
