// SPDX-License-Identifier: Apache-2.0

package main

// tools are a filesystem's own programs for a copy, as parts of shell scripts that run on the nodes. ID is the dataset.
type tools struct {
	named   string
	keep    string // makes a snapshot on the node that sends
	send    string // writes it
	receive string // reads it
	clean   string // takes away what these have made, on any node
	settle  string // waits until what was removed has left its room
	// first has them go before Flocker: what they made would keep the dataset from being removed.
	first bool
}

func btrfsTools() tools {
	return tools{
		named:   "btrfs send and receive",
		keep:    "btrfs -q subvolume snapshot -r " + pool + "/flocker/datasets/$ID/head " + pool + "/bench",
		send:    "btrfs -q send " + pool + "/bench",
		receive: "mkdir " + pool + "/received; nc -N -l " + barePort + " | btrfs -q receive " + pool + "/received",
		clean: "for s in " + pool + "/bench " + pool + "/received/*; do [ ! -e $s ] || btrfs -q subvolume delete $s; done; " +
			"[ ! -e " + pool + "/received ] || rmdir " + pool + "/received",
		settle: "btrfs subvolume sync " + pool,
	}
}

func zfsTools() tools {
	const find = "$(zfs list -H -o name -t snapshot -r flocker | grep '@bench$' || :)"
	return tools{
		named:   "zfs send and receive",
		keep:    "zfs snapshot $(zfs list -H -o name -r flocker | grep default.$ID)@bench",
		send:    "zfs send " + find,
		receive: "nc -N -l " + barePort + " | zfs receive -u flocker/received",
		clean:   "for s in " + find + "; do zfs destroy $s; done; ! zfs list flocker/received >/dev/null 2>&1 || zfs destroy flocker/received",
		settle:  ":",
		first:   true,
	}
}
