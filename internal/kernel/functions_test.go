// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func prefixed(l *FunctionList, prefix, object string) (names []string) {
	l.Prefix(prefix, object, func(n string) bool {
		names = append(names, n)
		return true
	})
	return names
}

// Every prefix of every name finds what a walk through all names finds.
func TestFunctionListFindsEveryPrefix(t *testing.T) {
	var all []string
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		n := make([]byte, 1+r.IntN(5))
		for i := range n {
			n[i] = "ab_"[r.IntN(3)]
		}
		all = append(all, string(n))
	}
	slices.Sort(all)
	all = slices.Compact(all)
	l := &FunctionList{[]byte(strings.Join(all, " vmlinux\n") + " vmlinux\n")}
	for _, n := range append(all, "", "0", "z") {
		for i := range len(n) + 1 {
			var want []string
			for _, a := range all {
				if strings.HasPrefix(a, n[:i]) {
					want = append(want, a)
				}
			}
			if got := prefixed(l, n[:i], ""); !slices.Equal(got, want) {
				t.Fatalf("prefix %q: got %q, want %q", n[:i], got, want)
			}
		}
	}
	if got := prefixed(&FunctionList{}, "a", ""); got != nil {
		t.Errorf("an empty list has %q", got)
	}
}

func TestFunctionListByObject(t *testing.T) {
	l := &FunctionList{[]byte("fill ext4 btrfs\nfill_super vmlinux\nfree snd_pcm\n")}
	if got := prefixed(l, "fi", "ext4"); !slices.Equal(got, []string{"fill"}) {
		t.Errorf("ext4: got %q", got)
	}
	if got := prefixed(l, "", "snd-pcm"); !slices.Equal(got, []string{"free"}) {
		t.Errorf("snd-pcm: got %q", got)
	}
	if got := l.Near("fill_supper", 1); !slices.Equal(got, []string{"fill_super"}) {
		t.Errorf("near: got %q", got)
	}
}

func TestFunctionName(t *testing.T) {
	for symbol, want := range map[string]string{
		"tcp_v4_rcv": "tcp_v4_rcv", "get_partial.isra.0": "get_partial", "f.cold": "f", "__pfx_f": "", ".Ltmp": "", "$x": "",
	} {
		if got := functionName(symbol); got != want {
			t.Errorf("%s: got %q, want %q", symbol, got, want)
		}
	}
}

func FuzzReadFunctionNames(f *testing.F) {
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = readFunctionNames(bytes.NewReader(data))
	})
}
