#!/usr/bin/env bash
# Runs benchmarks so many times, and writes what they print to bench/out, after the command:
#   bench/run.sh FILE TIMES FOLDER ARGUMENTS-OF-GO-TEST...
# What is compared takes turns within a benchmark, or from one repetition to the next.
set -euo pipefail
file=$1 times=$2 folder=$3
shift 3
out=$(cd "$(dirname "$0")" && pwd)/out
mkdir -p "$out"

command="go test"
for arg in "$@"; do
	case $arg in
	*[!A-Za-z0-9_./=-]*) command+=" '$arg'" ;;
	*) command+=" $arg" ;;
	esac
done
[ "$folder" = . ] || command="cd $folder && $command"
[ "$times" = 1 ] || command+=" ($times times)"
echo "$command"
{
	echo "command: $command"
	echo "date: $(date -u +%Y-%m-%dT%H:%MZ)"
	echo "version: $(git describe --always --dirty 2>/dev/null || echo unknown)"
} >"$out/$file.part"

# names shows how far it is.
names() {
	while read -r name _; do
		if [[ $name == Benchmark* ]]; then echo "  $name"; fi
	done
}

cd "$folder"
for ((i = 0; i < times; i++)); do
	if ! go test "$@" | tee -a "$out/$file.part" | names; then
		grep -v '^Benchmark' "$out/$file.part" >&2
		exit 1
	fi
done
mv "$out/$file.part" "$out/$file"
