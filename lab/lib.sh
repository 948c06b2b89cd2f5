# SPDX-License-Identifier: GPL-2.0
# What the lab's scripts share: where things are, what they say, what they run.
# Sourced with TOP (the repository) set by the caller.

OUT=${OUT:-$TOP/out}
CACHE=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/riscv-kvm-lab}
CPUS=$(nproc)
ME=${0##*/}

# Kernel builds are to be the same whoever makes them, wherever they stand
export ARCH=riscv CROSS_COMPILE="${CROSS_COMPILE:-riscv64-linux-gnu-}"
export KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=lab KBUILD_BUILD_HOST=lab
export CCACHE_DIR="$CACHE/ccache" CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=5G CCACHE_DEPEND=1
export LC_ALL=C.UTF-8

say() { printf '%s\n' "$*" >&2; }
die() { say "$ME: $*"; exit 1; }

# now: seconds since boot, which no clock setting moves
now() { cut -d. -f1 /proc/uptime; }

# step TEXT LOG COMMAND...: run a long command, its output in LOG, saying what
# it does and how long it took; when it fails, end with the last of its log.
step() {
	_text=$1 _log=$2; shift 2
	_t0=$(now)
	mkdir -p "${_log%/*}"
	if [ -n "${V:-}" ] && [ "$V" != 0 ]; then
		say "+ $*"
	fi
	[ -t 2 ] && printf '  ...   %s\r' "$_text" >&2
	if "$@" > "$_log" 2>&1; then
		printf '  %4ds  %s\n' $(($(now) - _t0)) "$_text" >&2
		return 0
	else
		_rc=$?
		printf '  FAIL  %s\n' "$_text" >&2
		tail -n "${STEP_TAIL:-15}" "$_log" | sed 's/^/        /' >&2
		say "        (all of it: $_log)"
		return $_rc
	fi
}

# table FILE KEY: the row of a data file whose first word is KEY, without it
table() {
	awk -v key="$2" '!/^#/ && $1 == key { sub(/^[^ \t]+[ \t]+/, ""); print; found = 1 }
			 END { exit !found }' "$1"
}

# keys FILE: the first words of a data file's rows
keys() { awk '!/^#/ && NF { print $1 }' "$1"; }

need_base() {
	table "$TOP/lab/bases" "$1" > /dev/null ||
		die "unknown base '$1'; there are: $(keys "$TOP/lab/bases" | tr '\n' ' ')"
}

# series_bases: the bases that have a series
series_bases() {
	for _b in $(keys "$TOP/lab/bases"); do
		if [ -e "$TOP/patches/$_b/0000-cover-letter.patch" ]; then
			echo "$_b"
		fi
	done
}

# kmake TREE BUILD ARGS...: the kernel's make. BUILD is a folder right under
# TREE, so that the compiler sees relative paths and ccache serves any clone.
kmake() {
	_tree=$1 _build=$2; shift 2
	make -s -C "$_tree" O="$_tree/$_build" CC="ccache ${CROSS_COMPILE}gcc" \
		-j"$CPUS" ${V:+V=$V} "$@"
}

# wanted ID: whether TEST, a shell pattern, asks for the test of that name
wanted() {
	# shellcheck disable=SC2254
	case $1 in
	${TEST:-*}) return 0 ;;
	*) return 1 ;;
	esac
}
