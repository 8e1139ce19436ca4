// SPDX-License-Identifier: Apache-2.0

package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestRunOutputAndError(t *testing.T) {
	out, err := Run(context.Background(), Cmd{Argv: []string{"sh", "-c", "echo out; echo err >&2; echo $LC_ALL"}})
	if err != nil || string(out.Stdout) != "out\nC\n" || string(out.Stderr) != "err\n" {
		t.Fatalf("%+v %v", out, err)
	}
	_, err = Run(context.Background(), Cmd{Argv: []string{"sh", "-c", "echo broken >&2; exit 7"}})
	var e *Error
	if !errors.As(err, &e) || e.Exit != 7 || string(e.Log) != "broken\n" || !strings.Contains(err.Error(), "broken") {
		t.Fatalf("%v", err)
	}
	_, err = Run(context.Background(), Cmd{Argv: []string{"kmend-no-such-tool"}})
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "install it") {
		t.Fatalf("%v", err)
	}
}

func TestRunBoundsOutput(t *testing.T) {
	out, err := Run(context.Background(), Cmd{Argv: []string{"sh", "-c", "echo first; head -c 1000000 /dev/zero; echo last"}, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if !out.Truncated || len(out.Stdout) > 1100 || !bytes.HasPrefix(out.Stdout, []byte("first\n")) || !bytes.HasSuffix(out.Stdout, []byte("last\n")) {
		t.Fatalf("truncated %v, %d bytes", out.Truncated, len(out.Stdout))
	}
}

// A child of the child must die with the context too, else a cancelled build
// leaves compilers behind.
func TestCancelKillsGroup(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := Run(ctx, Cmd{Argv: []string{"sh", "-c", "sleep 1000 & echo $! > " + pidFile + ".t; mv " + pidFile + ".t " + pidFile + "; wait"}})
		done <- err
	}()
	var pid int
	for range 500 {
		if b, err := os.ReadFile(pidFile); err == nil {
			fmt.Sscan(string(b), &pid)
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if pid == 0 {
		t.Fatal("child did not start")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	for range 500 {
		st, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || bytes.Contains(st, []byte(") Z ")) || syscall.Kill(pid, 0) != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("grandchild %d still runs", pid)
}

func TestJobsBound(t *testing.T) {
	j := NewJobs(2)
	var mu sync.Mutex
	var now, most int
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			release, err := j.Acquire(context.Background())
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(5 * time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
		})
	}
	wg.Wait()
	if most != 2 {
		t.Fatalf("%d at once, want 2", most)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r1, _ := j.Acquire(context.Background())
	r2, _ := j.Acquire(context.Background())
	defer r1()
	defer r2()
	if _, err := j.Acquire(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
}

func key(s string) Key { h := NewHasher("test"); h.AddString(s); return h.Key() }

func TestCache(t *testing.T) {
	c := CacheAt(filepath.Join(t.TempDir(), "a", "objects"))
	if _, ok, err := c.Get(key("x")); ok || err != nil {
		t.Fatal(ok, err)
	}
	want := map[string][]byte{"object": []byte("abc"), "log": {}}
	if err := c.Put(key("x"), want); err != nil {
		t.Fatal(err)
	}
	got, ok, err := c.Get(key("x"))
	if !ok || err != nil || string(got["object"]) != "abc" || len(got) != 2 {
		t.Fatal(got, ok, err)
	}
	// Damage: every single flipped byte and every truncation is a miss.
	p, _ := c.path(key("x"))
	good, _ := os.ReadFile(p)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		os.WriteFile(p, bad, 0o644)
		if _, ok, err := c.Get(key("x")); ok || err != nil {
			t.Fatalf("byte %d flipped: found=%v err=%v", i, ok, err)
		}
		os.WriteFile(p, good[:i], 0o644)
		if _, ok, err := c.Get(key("x")); ok || err != nil {
			t.Fatalf("cut at %d: found=%v err=%v", i, ok, err)
		}
		if _, err := os.Stat(p); err == nil {
			t.Fatal("damaged entry still there")
		}
	}
	if _, _, err := c.Get("../../etc/passwd"); err == nil {
		t.Fatal("accepted a path as key")
	}
}

func TestCacheConcurrent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "objects")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				os.RemoveAll(dir)
				time.Sleep(time.Millisecond)
			}
		}
	}()
	for w := range 4 {
		wg.Go(func() {
			c := CacheAt(dir)
			data := bytes.Repeat([]byte{byte('a' + w)}, 10000)
			for range 100 {
				// Put may fail when the directory goes away each time; it must not store half.
				_ = c.Put(key("same"), map[string][]byte{"d": data})
				got, ok, err := c.Get(key("same"))
				if err != nil {
					t.Error(err)
					return
				}
				if ok && (len(got["d"]) != 10000 || bytes.Count(got["d"], got["d"][:1]) != 10000) {
					t.Error("mixed entry")
					return
				}
			}
		})
	}
	wg.Wait()
	close(stop)
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(encodeEntry(map[string][]byte{"a": []byte("b"), "c": nil}))
	f.Add([]byte(cacheMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := decodeEntry(data)
		if err == nil && !bytes.Equal(encodeEntry(files), data) {
			// Names out of order or repeated decode, but no writer makes them.
			if len(files) == 0 {
				t.Fatal("empty entry differs")
			}
		}
	})
}
