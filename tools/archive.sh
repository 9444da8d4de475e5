# shellcheck shell=bash
# Sourced by the scripts beside it: the cache folder, messages, and an apt of our own.
#
# The apt made here keeps its lists, its downloads and its record of installed packages below one folder of the
# cache. It reads the host's proxies and trusted keys, changes nothing on the host and needs no root. Signatures are
# checked by apt as ever.

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
	say "$*"
	exit 1
}

cache_dir() {
	local base=${RES_PLANFIX_CACHE:-}
	if [[ -z $base ]]; then
		[[ -n ${XDG_CACHE_HOME:-}${HOME:-} ]] ||
			die "neither HOME nor RES_PLANFIX_CACHE is set: set RES_PLANFIX_CACHE to a folder with 2 GB of space"
		base=${XDG_CACHE_HOME:-$HOME/.cache}/res_planfix
	fi
	[[ $base == /* ]] || die "the cache folder must be an absolute path, and \"$base\" is none: correct RES_PLANFIX_CACHE"
	mkdir -p -- "$base" ||
		die "cannot make the cache folder $base: set RES_PLANFIX_CACHE to a folder that you may write to"
	[[ -w $base ]] ||
		die "the cache folder $base cannot be written to: set RES_PLANFIX_CACHE to a folder that you may write to"
	printf '%s\n' "$base"
}

# Usage: with_lock FILE COMMAND... . Two runs at the same time must not unpack into the same folder: the second
# waits for the first. The command runs in a subshell that ends with the lock.
with_lock() {
	local file=$1
	shift
	(
		exec 9>"$file" || die "cannot write $file"
		if ! flock -n 9; then
			say "another run is at work on this, waiting for it"
			flock 9
		fi
		"$@"
	)
}

# Usage: need_space FOLDER MEBIBYTES
need_space() {
	local free
	free=$(df -Pk -- "$1" | awk 'NR == 2 { print int($4 / 1024) }')
	((free >= $2)) ||
		die "$1 has $free MiB free and $2 MiB are needed: free some, or set RES_PLANFIX_CACHE to another disk"
}

need_apt() {
	local word
	for word in apt-get apt-cache dpkg dpkg-deb flock tar; do
		command -v "$word" >/dev/null ||
			die "\"$word\" is missing: this works on Debian, Ubuntu and their children only"
	done
}

# Usage: apt_state FOLDER STATUS. Writes FOLDER/apt.conf. STATUS is the list of installed packages that apt is to
# believe in. -c reads the file last, so that it has the last word over the host's settings.
apt_state() {
	local dir=$1 status=$2
	mkdir -p "$dir"/lists/partial "$dir"/archives/partial "$dir"/etc
	[[ -e $dir/etc/sources.list ]] || : >"$dir/etc/sources.list"
	cat >"$dir/apt.conf" <<CONF
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
#clear Acquire::Languages;
APT::Architectures { "$(dpkg --print-architecture)"; };
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Default-Release "";
APT::Get::List-Cleanup "true";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "60";
Acquire::https::Timeout "60";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Dir::State "$dir";
Dir::State::lists "$dir/lists";
Dir::State::status "$status";
Dir::Cache "$dir";
Dir::Cache::archives "$dir/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Log "$dir";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
CONF
	if [[ $(id -u) == 0 ]]; then
		# Apt would download as its own user, who may not look into root's cache folder.
		printf 'APT::Sandbox::User "root";\n' >>"$dir/apt.conf"
	else
		# The record of installed packages is only read, and its lock belongs to root.
		printf 'Debug::NoLocking "true";\n' >>"$dir/apt.conf"
	fi
}

# Usage: own_sources FOLDER LINE... . From now on this apt knows these sources and none of the host's.
own_sources() {
	local dir=$1
	shift
	printf '%s\n' "$@" >"$dir/etc/sources.list"
	printf 'Dir::Etc::sourcelist "%s";\nDir::Etc::sourceparts "/dev/null";\n' "$dir/etc/sources.list" >>"$dir/apt.conf"
}

# Usage: own_apt FOLDER ARGUMENTS... . Everything apt says goes to stderr: stdout belongs to the caller.
own_apt() {
	local dir=$1 quiet=-qq
	shift
	[[ ! -t 2 ]] || quiet=-q0
	LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -c "$dir/apt.conf" "$quiet" -y "$@" >&2
}

# Usage: candidate FOLDER PACKAGE. Prints the version that this apt would install, or nothing.
candidate() {
	LC_ALL=C apt-cache -c "$1/apt.conf" policy "$2" |
		awk '$1 == "Candidate:" && $2 != "(none)" { print $2; exit }'
}

# Usage: unpack ARCHIVES FOLDER. Manuals and translations stay out; the owner is whoever runs this.
unpack() {
	local archives=$1 into=$2 deb
	mkdir -p "$into"
	for deb in "$archives"/*.deb; do
		[[ -e $deb ]] || die "apt left no package in $archives: delete that folder and run this again"
		dpkg-deb --fsys-tarfile "$deb" |
			tar -x -f - -C "$into" --no-same-owner --delay-directory-restore --keep-directory-symlink \
				--exclude './usr/share/doc/*' --exclude './usr/share/man/*' \
				--exclude './usr/share/locale/*' --exclude './usr/share/info/*' \
				--exclude './dev/*' ||
			die "cannot unpack $deb: delete it and run this again"
	done
}
