// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"slices"
	"testing"
)

// The usage texts are of zfs-fuse 0.7.0, seen, and of OpenZFS 2, from its manual.
func TestFlagsOfSendAreReadFromItsUsage(t *testing.T) {
	for usage, want := range map[string][]string{
		"missing snapshot argument\nusage:\n\tsend [-RDp] [-[iI] snapshot] <snapshot>\n\nFor the property list, run: zfs set|get\n":                                                                                    nil,
		"missing snapshot argument\nusage:\n\tsend [-DLPbcehnpsVvw] [-i|-I snapshot]\n\t     [-R [-X dataset[,dataset]...]]     <snapshot>\n\tsend [-DnVvPLecw] [-i snapshot|bookmark] <filesystem|volume|snapshot>\n": {"-L", "-e", "-c"},
		"usage:\n\treceive [-vc]\n\tsend [-DLe] <snapshot>\n": {"-L", "-e"},
	} {
		if got := storedFlags(usage); !slices.Equal(got, want) {
			t.Errorf("storedFlags(%q) = %v; want %v", usage, got, want)
		}
	}
}

func TestWhetherReceiveTakesPropertiesIsReadFromItsUsage(t *testing.T) {
	for usage, want := range map[string]bool{
		"missing snapshot argument\nusage:\n\treceive [-vnF] <filesystem|volume|snapshot>\n\treceive [-vnF] -d <filesystem>\n":                                                     false,
		"missing snapshot argument\nusage:\n\treceive [-vMnsFhu] [-o <property>=<value>] ... [-x <property>] ...\n\t    <filesystem|volume|snapshot>\n\treceive -A <filesystem>\n": true,
		"usage:\n\tcreate [-p] [-o <property>=<value>] ... <filesystem>\n":                                                                                                         false,
	} {
		if got := receivesAs(usage); got != want {
			t.Errorf("receivesAs(%q) = %v; want %v", usage, got, want)
		}
	}
}

func FuzzParseBegin(f *testing.F) {
	f.Add(make([]byte, recordSize))
	f.Fuzz(func(t *testing.T, record []byte) {
		b, err := parseBegin(record)
		if err == nil && (expected{}).check(b) == nil {
			t.Error("a stream of nothing was expected")
		}
	})
}
