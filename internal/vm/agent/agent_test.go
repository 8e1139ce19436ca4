// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"encoding/hex"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"kmend/internal/vm/wire"
)

func TestNotRequested(t *testing.T) {
	if Requested() {
		t.Error("a test is no guest's init")
	}
}

func TestParseRecord(t *testing.T) {
	got, err := parseRecord([]byte("12,1234,5678901,-,caller=T1;a text; with, marks\n SUBSYSTEM=x\n"))
	want := wire.Record{Seq: 1234, Priority: 12, Micros: 5678901, Text: "a text; with, marks"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "6,1,2", "x,1,2,-;t", "6;t", ";"} {
		if _, err := parseRecord([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// The notes of a real kernel have Xen's before the build id.
func TestBuildID(t *testing.T) {
	xen := "04000000 08000000 06000000 58656e00 4c696e75 78000000"
	gnu := "04000000 14000000 03000000 474e5500 06f8bde30046985060c60820f7a11515a33afb06"
	notes, err := hex.DecodeString(strings.ReplaceAll(xen+gnu+xen, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	if id, err := buildID(notes); err != nil || id != "06f8bde30046985060c60820f7a11515a33afb06" {
		t.Errorf("%q, %v", id, err)
	}
	if id, err := buildID(notes[:24]); err == nil {
		t.Errorf("no build id there, and found %q", id)
	}
	if id, err := buildID(notes[:50]); err == nil {
		t.Errorf("cut in the build id, and found %q", id)
	}
	if _, err := os.Stat("/sys/kernel/notes"); err == nil {
		b, err := os.ReadFile("/sys/kernel/notes")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := buildID(b); err != nil {
			t.Errorf("the running kernel's notes: %v", err)
		}
	}
}

func FuzzBuildID(f *testing.F) {
	f.Add([]byte("\x04\x00\x00\x00\x14\x00\x00\x00\x03\x00\x00\x00GNU\x00aaaaaaaaaaaaaaaaaaaa"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\x03\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if id, err := buildID(data); err == nil && len(id) > 2*len(data) {
			t.Error("more than there is")
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte("6,1,2,-;text\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := parseRecord(data); err == nil && len(r.Text) > len(data) {
			t.Error("more than there is")
		}
	})
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for _, req := range []wire.Request{
		{Path: dir + "/a", Data: []byte("one"), Mode: 0o600},
		{Path: dir + "/a", Data: []byte("two"), Append: true},
		{Path: dir + "/b"},
	} {
		if err := write(&req); err != nil {
			t.Fatal(err)
		}
	}
	var resp wire.Response
	if err := read(&wire.Request{Path: dir + "/a"}, &resp); err != nil || string(resp.Data) != "onetwo" || resp.More {
		t.Errorf("%q, %v", resp.Data, err)
	}
	resp = wire.Response{}
	if err := read(&wire.Request{Path: dir + "/a", Max: 4}, &resp); err != nil || string(resp.Data) != "onet" || !resp.More {
		t.Errorf("%q, %v", resp.Data, err)
	}
	resp = wire.Response{}
	if err := list(&wire.Request{Path: dir}, &resp); err != nil || !slices.Equal(resp.Names, []string{"a", "b"}) || resp.More {
		t.Errorf("%q, %v", resp.Names, err)
	}
	resp = wire.Response{}
	if err := list(&wire.Request{Path: t.TempDir()}, &resp); err != nil || len(resp.Names) != 0 {
		t.Errorf("an empty directory: %q, %v", resp.Names, err)
	}
	if err := list(&wire.Request{Path: dir + "/a"}, &resp); err == nil {
		t.Error("a file is listed")
	}
}

func TestCommands(t *testing.T) {
	r := newReaper()
	run := func(timeout time.Duration, script string) wire.Response {
		t.Helper()
		var resp wire.Response
		req := wire.Request{Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/bin:/usr/bin", "X=y"}, TimeoutMS: int(timeout.Milliseconds())}
		if err := r.run(&req, &resp); err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if got := run(time.Minute, "echo $X; echo err >&2; exit 3"); got.Exit.Code != 3 || string(got.Data) != "y\nerr\n" {
		t.Errorf("%+v, %q", got.Exit, got.Data)
	}
	if got := run(200*time.Millisecond, "sleep 100"); !got.Exit.TimedOut || got.Exit.Signal != 9 {
		t.Errorf("%+v", got.Exit)
	}
	if got := run(time.Minute, "sleep 3 & echo x"); got.Exit.Code != 0 || string(got.Data) != "x\n" {
		t.Errorf("%+v, %q", got.Exit, got.Data)
	}
	if got := run(time.Minute, "head -c 300000 /dev/zero"); len(got.Data) != wire.MaxOutput || !got.More {
		t.Errorf("%d bytes", len(got.Data))
	}
	var resp wire.Response
	if err := r.run(&wire.Request{Argv: []string{"/no/such"}}, &resp); err == nil {
		t.Error("a program that is not there was run")
	}
}
