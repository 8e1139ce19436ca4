#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs livepatch selftests of the kernel while several kmends watch. What they
# say goes to files in /tmp/w, one look a line, with the time (in µs) at which it
# was read; \v stands for a newline. Usage: watch-selftests.sh SCRIPT...
export PATH=/usr/sbin:/usr/bin:/bin
cd "$(dirname "$0")" || exit 1
w=/tmp/w
mkdir $w || exit 1

stamp() {
	local line
	while IFS= read -r line; do printf '%s %s\n' "${EPOCHREALTIME/./}" "$line"; done
}

# watch NAME COMMAND...: a kmend that goes on until it is told to end. Its
# process and that of its reader are in watcher[NAME] and reader[NAME].
declare -A watcher reader
watch() {
	local name=$1
	shift
	mkfifo "$w/$name.fifo"
	stamp < "$w/$name.fifo" > "$w/$name" &
	reader[$name]=$!
	kmend "$@" > "$w/$name.fifo" 2> "$w/$name.err" &
	watcher[$name]=$!
	until [ -s "$w/$name" ]; do sleep .1; done
}

# measure: memory and open files of the watchers.
measure() {
	local name key value rest rss
	for name in "${!watcher[@]}"; do
		rss=
		while read -r key value rest; do [ "$key" = VmRSS: ] && rss=$value; done < "/proc/${watcher[$name]}/status"
		set -- "/proc/${watcher[$name]}/fd/"*
		echo "${EPOCHREALTIME/./} $name $rss $#" >> $w/memory
	done
}

# once: kmends that look once, until there is a file stop; and notes of the time
# in the kernel log, by which the two clocks are compared.
once() {
	local begin out code command
	while [ ! -e $w/stop ]; do
		measure
		for command in 'status --json' list status; do
			echo "kmend clock ${EPOCHREALTIME/./}" > /dev/kmsg
			begin=${EPOCHREALTIME/./}
			out=$(kmend $command 2>&1)
			code=$?
			printf '%s %s %s %s\t%s\n' "$begin" "${EPOCHREALTIME/./}" $code "$command" "${out//$'\n'/$'\v'}" >> $w/once
			sleep 1
		done
	done
}

watch list list --watch --json --interval 100ms
watch status status --watch --interval 100ms
once &
once=$!
for script; do
	begin=${EPOCHREALTIME/./}
	bash "./$script"
	echo "$script: exit $? after $(((${EPOCHREALTIME/./} - begin) / 1000)) ms"
done
touch $w/stop
wait $once
measure
for name in "${!watcher[@]}"; do
	kill -INT "${watcher[$name]}"
	wait "${watcher[$name]}"
	echo "watcher $name: exit $?"
	wait "${reader[$name]}"
done
cat $w/*.err
gzip -k $w/list $w/status $w/once $w/memory
