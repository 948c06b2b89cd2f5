# SPDX-License-Identifier: GPL-2.0
# composer.sh - what compose, am and refresh share; sourced with LAB set.
#
# From the environment:
#   TOP  top of the repository (default: the folder above this one)
#   OUT  output folder (default: TOP/out)
#   AWK  the awk to use (default: awk)

LC_ALL=C
export LC_ALL
unset CDPATH
# shellcheck disable=SC2034 # these two are for the sourcing script
TAB='	'
# shellcheck disable=SC2034
EMPTY_TREE=4b825dc642cb6eb9a060e54bf8d69288fbee4904
AWK=${AWK:-awk}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# die_at FILE:LINE TEXT: as compilers say it
die_at() {
	printf "%s: %s\n" "$1" "$2" >&2
	exit 1
}

# The sourcing script's header comment is its help text.
usage() {
	sed -n '2,/^[^#]*$/s/^# \{0,1\}//p' "$0" | grep -v '^SPDX' >&2
	exit 2
}

TOP=$(cd -- "${TOP:-$LAB/..}" && pwd) || die "TOP: no such folder"
mkdir -p -- "${OUT:-$TOP/out}"
OUT=$(cd -- "${OUT:-$TOP/out}" && pwd)
export TOP OUT

# A caller that is itself run by git (hook, alias, rebase --exec) hands its
# own repository down; none of these scripts means that one.
# shellcheck disable=SC2046 # one variable name per word
unset $(git rev-parse --local-env-vars)
unset GIT_EXTERNAL_DIFF GIT_DIFF_OPTS

# on_exit COMMAND: run COMMAND once when the script ends, however it ends
on_exit() {
	# shellcheck disable=SC2064 # expanded now
	trap "trap '' HUP INT TERM; $1" EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
}

# no_signals: from here on the script finishes what it began
no_signals() {
	trap '' HUP INT TERM
}

# check_base BASE: the name must be usable as a folder's
check_base() {
	case $1 in
	'' | .* | *[!A-Za-z0-9._-]*)
		die "'$1' is no name of a base; they look like linux-6.12" ;;
	esac
}

# added_by BASE: the paths that the stored series of BASE adds
added_by() {
	for patch in "$TOP/patches/$1"/[0-9]*.patch; do
		[ ! -f "$patch" ] || sed -n 's/^Adds: //p' "$patch"
	done
}

# series_id BASE: a hash over all that the stored series of BASE applies, for
# use in the repository's top folder
series_id() {
	{
		for patch in "patches/$1"/[0-9]*.patch; do
			[ "${patch##*/}" = 0000-cover-letter.patch ] || cat "$patch"
		done
		added_by "$1" | while IFS= read -r path; do
			[ ! -x "$path" ] || echo "$path"
			cat "$path"
		done
	} | git hash-object --stdin
}

# open_tree TREE: set $tree to a clean git work tree at rest, or die.
# Untracked files are not looked at.
open_tree() {
	tree=$(cd -- "$1" 2>/dev/null && pwd -P) || die "$1: no such folder"
	top=$(git -C "$tree" rev-parse --show-toplevel 2>/dev/null) ||
		die "$1: not a git work tree; make it one (git init, git add -A, git commit) or name a clone"
	[ "$top" = "$tree" ] || die "$1: name the top of the work tree: $top"
	git -C "$tree" rev-parse -q --verify HEAD >/dev/null ||
		die "$1: has no commit yet; commit the base first"

	git -C "$tree" rev-parse --path-format=absolute \
		--git-path rebase-apply --git-path rebase-merge \
		--git-path MERGE_HEAD --git-path CHERRY_PICK_HEAD \
		--git-path REVERT_HEAD --git-path index.lock |
	while IFS= read -r path; do
		[ ! -e "$path" ] || case $path in
		*/rebase-apply) die "$1: in the middle of a git am or rebase; finish or abort it" ;;
		*/rebase-merge) die "$1: in the middle of a git rebase; finish or abort it" ;;
		*_HEAD) die "$1: in the middle of a git merge, cherry-pick or revert; finish or abort it" ;;
		*) die "$1: another git is at work there; when none is, remove $path" ;;
		esac
	done
	dirty=$(git -C "$tree" -c core.quotePath=false status --porcelain \
		--untracked-files=no --no-renames)
	[ -z "$dirty" ] ||
		die "$1: $(printf '%s\n' "$dirty" | wc -l) changed file(s), first: $(printf '%s\n' "$dirty" | sed 's/^...//;q'); commit or stash them"
}

# check_version REV: $tree at REV must be the kernel that $base names
# shellcheck disable=SC2154 # base is the sourcing script's
check_version() {
	version=$(git -C "$tree" cat-file blob "$1:Makefile" 2>/dev/null | $AWK '
		$1 == "VERSION" && $2 == "=" { major = $3 }
		$1 == "PATCHLEVEL" && $2 == "=" { minor = $3 }
		END { if (major != "") print "linux-" major "." minor }')
	[ "$version" != "$base" ] || return 0
	[ "${FORCE:-}" != 1 ] || return 0
	die "$tree holds ${version:-no kernel that tells its version}, not $base; FORCE=1 goes on all the same"
}
