# SPDX-License-Identifier: GPL-2.0
# series-adds.awk - after patch.awk: lists the files that a series adds,
# one a line: where it says so, a tab, the path.

event == "adds" {
	print file ":" FNR "\t" path
}

function hunk_end() { }
function file_end() { }
function patch_end() { }
