# SPDX-License-Identifier: GPL-2.0
# series-stat.awk - after patch.awk: writes a git fast-import stream from
# which git itself makes the series' diffstats.
#
# $ADDS names the diff that creates all added files.
#
# Commit "after N" differs from its parent just as patch N's diffstat must
# show: each file loses and gains as many lines as the patch's hunks say.
# Commit "after 0" differs from its parent like the whole series. That one
# cannot be summed up from the patches, because they rewrite each other's
# lines; so the files are followed through the series. A file is a list of
# segments, each a run of lines of the base, by number, or one line of text.
# What a line of the base reads is known where a hunk has shown it; the others
# stay what they are from base to tip, so a stand-in does for them. In a file
# that one patch changes, all lines that go and come count, as they did for git
# when it made the patch; in a file that several change, git compares what the
# lines read.

BEGIN {
	ENDLESS = 1000000000
	NO_EOL = "\001"		# ends the text of a line that lacks its newline
	HUNK = "\001"		# no file: the segments that a hunk makes
	read_adds(ENVIRON["ADDS"])
}

event == "adds" {
	if (adds_binary[path])
		fail(FNR, path " is binary; the series holds text only")
	if (path in known)
		fail(FNR, path " is there before: " known[path] " changes it")
	known[path] = name
	in_base[path] = 0
	in_tip[path] = 1
	tip_mode[path] = adds_mode[path]
	segments = adds_lines[path]
	for (i = 1; i <= segments; i++) {
		first[path, i] = 0
		content[path, i] = adds_text[path, i]
	}
	count[path] = segments
	shown_to[path] = 0
	note_change(path, segments, 0, "", adds_mode[path])
}

event == "file" {
	plus = minus = 0
	if (!(path in known)) {
		known[path] = name
		in_base[path] = in_tip[path] = endless[path] = 1
		count[path] = 1
		shown_to[path] = 0
		first[path, 1] = 1
		last[path, 1] = ENDLESS
	} else if (!in_tip[path])
		fail(FNR, path " is deleted by an earlier patch")
}

event == "hunk" { ops = 0 }

event == "line" && sign != "\\" {
	ops++
	op[ops] = sign
	op_text[ops] = text
	if (sign == "+")
		plus++
	if (sign == "-")
		minus++
}

event == "line" && sign == "\\" { op_text[ops] = op_text[ops] NO_EOL }

END {
	if (failed)
		exit 1
	write_total()
}

function hunk_end(   i, at) {
	olds = 0
	for (i = 1; i <= ops; i++)
		if (op[i] != "+")
			old[++olds] = op_text[i]
	# Earlier hunks of the patch are in place: the new line number says where
	at = find(path, new_count ? new_start : new_start + 1)
	if (!at)
		fail(hunk_line, "the hunk does not fit what the earlier patches make of " path)
	apply_hunk(path, at)
}

function file_end(   i) {
	if (!(path in base_mode))
		base_mode[path] = old_mode
	tip_mode[path] = new_mode
	if (deleted) {
		for (i = 1; i <= count[path]; i++)
			if (!first[path, i] || last[path, i] != ENDLESS)
				fail(file_line, "the deletion does not fit what the earlier patches make of " path)
		in_tip[path] = 0
		endless[path] = 0		# the hunk has shown every line
		count[path] = 0
	}
	note_change(path, plus, minus, old_mode, new_mode)
}

function patch_end(   i, p) {
	if (!number)
		return
	begin_commit("before " number)
	for (i = 1; i <= changed; i++)
		if (before_mode[i] != "") {
			begin_data(before_mode[i], changed_path[i])
			numbered_lines("-", removed[i])
			print "."
		}
	begin_commit("after " number)
	for (i = 1; i <= changed; i++)
		if (after_mode[i] != "") {
			begin_data(after_mode[i], changed_path[i])
			numbered_lines("+", inserted[i])
			print "."
		}
	changed = 0
}

# Read the lines of the added files out of the diff that creates them.
function read_adds(diff,   line, p, body) {
	while ((getline line < diff) > 0) {
		if (line ~ /^diff --git /) {
			p = substr(line, 14, (length(line) - 16) / 2)
			adds_lines[p] = body = 0
		} else if (!body && line ~ /^new file mode /)
			adds_mode[p] = substr(line, 15)
		else if (!body && line ~ /^Binary files /)
			adds_binary[p] = 1
		else if (line ~ /^@@ /)
			body = 1
		else if (body && line ~ /^\+/)
			add_line(p, substr(line, 2))
		else if (body)
			adds_text[p, adds_lines[p]] = adds_text[p, adds_lines[p]] NO_EOL
	}
	close(diff)
}

function add_line(p, line) {
	adds_text[p, ++adds_lines[p]] = line
	if (line ~ /\r$/)
		fail_at(p ":" adds_lines[p], "the line ends in CR LF, which git am would not keep")
}

# Where in the tip of file p the lines old[] stand: at line want if nothing
# known speaks against that, else, as git am would find it, where most of them
# are known to stand, and nearest; 0 when nowhere.
function find(p, want,   end, d, n, most, at) {
	end = show(p, want, want + olds)
	if (fits(want, end) >= 0)
		return want
	show(p, 1, end)
	most = at = 0
	for (d = 1; d < 1000; d++) {
		if ((n = fits(want + d, end)) > most) {
			most = n
			at = want + d
		}
		if ((n = fits(want - d, end)) > most) {
			most = n
			at = want - d
		}
	}
	return at
}

# Set shown[line] to what is known of the lines from to to of the tip of file p;
# return the end of the file.
function show(p, from, to,   i, b, t, end) {
	split("", shown)
	if (!in_base[p]) {
		# All of it is text, one segment for each line
		for (t = max(from, 1); t <= to && t <= count[p]; t++)
			shown[t] = content[p, t]
		return count[p] + 1
	}
	t = 1
	for (i = 1; i <= count[p]; i++) {
		if (!first[p, i]) {
			if (t >= from && t <= to)
				shown[t] = content[p, i]
			t++
			continue
		}
		end = min(last[p, i], shown_to[p])
		end = min(end, first[p, i] + to - t)
		for (b = first[p, i] + max(from - t, 0); b <= end; b++)
			if ((p, b) in base_text)
				shown[t + b - first[p, i]] = base_text[p, b]
		t += last[p, i] - first[p, i] + 1
	}
	return t
}

# How many of old[] are known to stand at line at, -1 when one is not there.
function fits(at, end,   i, n) {
	if (at < 1 || at + olds > end)
		return -1
	n = 0
	for (i = 1; i <= olds; i++)
		if ((at + i - 1) in shown) {
			if (shown[at + i - 1] != old[i])
				return -1
			n++
		}
	return n
}

function min(a, b) {
	return a < b ? a : b
}

function max(a, b) {
	return a > b ? a : b
}

# How many lines of the tip segment i of file p is
function lines(p, i) {
	return first[p, i] ? last[p, i] - first[p, i] + 1 : 1
}

# Put op[] into file p at line at of its tip. The segments before that stay as they
# are, and those behind are moved.
function apply_hunk(p, at,   i, n, k, t, b, end, skip, start, stop, d) {
	n = count[p]
	if (!in_base[p]) {
		start = t = min(at, n + 1)
		stop = at + olds
	} else {
		t = 1
		for (start = 1; start <= n && t + lines(p, start) <= at; start++)
			t += lines(p, start)
		b = t
		for (stop = start; stop <= n; stop++)
			if ((b += lines(p, stop)) > at + olds)
				break
	}
	stop = min(stop, n)
	for (i = start; i <= stop; i++) {
		was_first[i] = first[p, i]
		was_last[i] = last[p, i]
		was_content[i] = content[p, i]
	}
	count[HUNK] = 0
	k = 1
	for (i = start; i <= stop; i++) {
		if (!was_first[i]) {
			if (t >= at)
				k = insert_from(HUNK, k)
			if (t < at || k > ops || op[k] == " ")
				put_text(HUNK, was_content[i])
			if (t++ >= at && k <= ops)
				k++
			continue
		}
		b = was_first[i]
		end = was_last[i]
		if (t < at) {
			skip = min(at - t, end - b + 1)
			put_run(HUNK, b, b + skip - 1)
			t += skip
			b += skip
		}
		while (b <= end) {
			k = insert_from(HUNK, k)
			if (k > ops) {
				put_run(HUNK, b, end)
				break
			}
			base_text[p, b] = op_text[k]
			if (b > shown_to[p])
				shown_to[p] = b
			if (op[k] == " ")
				put_run(HUNK, b, b)
			k++
			b++
			t++
		}
	}
	insert_from(HUNK, k)

	d = start - 1 + count[HUNK] - stop
	if (d < 0)
		for (i = stop + 1; i <= n; i++)
			move(p, i, p, i + d)
	else if (d > 0)
		for (i = n; i > stop; i--)
			move(p, i, p, i + d)
	for (i = 1; i <= count[HUNK]; i++)
		move(HUNK, i, p, start - 1 + i)
	count[p] = n + d
}

function move(from, i, to, j) {
	if (first[to, j] = first[from, i])
		last[to, j] = last[from, i]
	else
		content[to, j] = content[from, i]
}

# Insert the new lines from op k on; return the next op that is none.
function insert_from(p, k) {
	for (; k <= ops && op[k] == "+"; k++)
		put_text(p, op_text[k])
	return k
}

function put_text(p, line) {
	first[p, ++count[p]] = 0
	content[p, count[p]] = line
}

function put_run(p, from, to,   n) {
	n = count[p]
	if (n && first[p, n] && last[p, n] + 1 == from) {
		last[p, n] = to
		return
	}
	count[p] = ++n
	first[p, n] = from
	last[p, n] = to
}

function note_change(p, ins, del, before, after) {
	changes_of[p]++
	changed_path[++changed] = p
	inserted[changed] = ins
	removed[changed] = del
	before_mode[changed] = before
	after_mode[changed] = after
}

function begin_commit(subject) {
	print "commit refs/heads/stat"
	print "committer x <x> 0 +0000"
	print "data <<."
	print subject
	print "."
	print "deleteall"
}

function begin_data(mode, p) {
	print "M " mode " inline " p
	print "data <<."
}

function numbered_lines(mark, n,   i) {
	for (i = 1; i <= n; i++)
		print mark i
}

function write_total(   p) {
	for (p in known)
		write_file(p)
	begin_commit("before 0")
	for (p in known)
		if (in_base[p])
			print "M " base_mode[p] " :" base_mark[p] " " p
	begin_commit("after 0")
	for (p in known)
		if (in_tip[p])
			print "M " tip_mode[p] " :" tip_mark[p] " " p
}

# Write file p as it is in the base and in the tip, as far as it is known.
function write_file(p,   i, n, at, from) {
	base_size = tip_size = at = 0
	from = 1
	n = count[p]
	compare = changes_of[p] > 1
	for (i = 1; i <= n; i++)
		if (first[p, i]) {
			region(p, at, first[p, i] - 1, from, i - 1)
			stay(p, first[p, i], last[p, i])
			at = last[p, i]
			from = i + 1
		}
	if (at != ENDLESS)
		region(p, at, in_base[p] ? shown_to[p] : 0, from, n)

	begin_blob(base_mark[p] = ++mark)
	for (i = 1; i <= base_size; i++)
		print base_line[i]
	print "."
	begin_blob(tip_mark[p] = ++mark)
	for (i = 1; i <= tip_size; i++)
		print tip_line[i]
	print "."
}

# A region of file p: the lines of the base after line at up to line end go,
# the texts of the segments from to to come.
function region(p, at, end, from, to,   b, i) {
	if (compare) {
		for (b = at + 1; b <= end; b++)
			base_line[++base_size] = "=" base_text[p, b]
		for (i = from; i <= to; i++)
			tip_line[++tip_size] = "=" content[p, i]
	} else {
		for (b = at + 1; b <= end; b++)
			base_line[++base_size] = "-" b
		for (i = from; i <= to; i++)
			tip_line[++tip_size] = "+" i
	}
}

# Lines of the base that stay. Only where git is to compare does each unknown
# one get a stand-in of its own: how git does that depends on the file's size.
function stay(p, from, to,   b, end) {
	end = min(to, shown_to[p])
	for (b = from; b <= end; b++)
		if ((p, b) in base_text)
			both("=" base_text[p, b])
		else if (compare || b == from || (p, b - 1) in base_text)
			both("?" b)
	if (to == ENDLESS)
		both("?end")
}

function both(line) {
	base_line[++base_size] = tip_line[++tip_size] = line
}

function begin_blob(n) {
	print "blob"
	print "mark :" n
	print "data <<."
}
