# SPDX-License-Identifier: GPL-2.0
# series-log.awk - after patch.awk: prints authors and titles, newest first,
# as git shortlog reads them.

function hunk_end() { }
function file_end() { }

function patch_end(   who) {
	if (!number)
		return
	who = author
	if (who ~ /^"/) {
		sub(/^"/, "", who)
		sub(/" </, " <", who)
		gsub(/\\/, "", who)
	}
	log_text = "Author: " who "\n\n    " title "\n\n" log_text
}

END {
	if (failed)
		exit 1
	printf "%s", log_text
}
