// SPDX-License-Identifier: Apache-2.0

package nearest

import "testing"

func TestNames(t *testing.T) {
	names := []string{"loop", "loop2", "ext4", "6.1.0-50-amd64", "6.1.0-51-amd64"}
	for want, near := range map[string]string{"lop": "loop", "ext5": "ext4", "6.1.0-50-amd46": "6.1.0-50-amd64"} {
		if got := Names(want, names, 1); len(got) != 1 || got[0] != near {
			t.Errorf("nearest(%s) = %v", want, got)
		}
	}
	if got := Names("something", names, 3); len(got) != 0 {
		t.Errorf("nearest(something) = %v", got)
	}
	if d := editDistance("kitten", "sitting"); d != 3 {
		t.Errorf("distance %d", d)
	}
}
