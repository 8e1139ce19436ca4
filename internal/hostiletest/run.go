// SPDX-License-Identifier: Apache-2.0

package hostiletest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Share is how many inputs a test tries: few, or so many percent of
// $KMEND_TEST_MUTANTS.
func Share(t testing.TB, few, percent int) int {
	t.Helper()
	s := os.Getenv("KMEND_TEST_MUTANTS")
	if s == "" {
		return few
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("KMEND_TEST_MUTANTS is %q: give a number", s)
	}
	return max(n/100*percent, 1)
}

// Bounds are what one input may cost.
type Bounds struct {
	Constant, PerByte uint64 // bytes that are allocated for it, in all: a constant, and a multiple of its size
	Memory            uint64 // bytes that the process ever takes from the system
}

// Case is one input: Try gives it to what is tested, and says in a word what
// became of it. An error is a fault: something held in no case may happen.
type Case struct {
	Input []byte
	Try   func() (outcome string, err error)
}

// hang is how long one input may take, in seconds in which this process ran.
// It finds what never ends; it is no measure of speed.
const hang = 120

// maxFaults ends a run: more would tell nothing.
const maxFaults = 20

// Run tries count inputs on two goroutines. SIGINT ends it and fails the test;
// what was seen until then is told.
//
// start is called for each goroutine before the first; what it returns makes the
// input of a number, which together with count seeds rnd, so any of them can be
// made again. Run tells how many inputs came to which outcome.
func Run(t *testing.T, count int, b Bounds, start func(worker int) func(rnd *rand.Rand, number int) Case) map[string]int {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // half of the time would go into collecting garbage
	r := &run{t: t, count: count, bounds: b, outcomes: map[string]int{}}
	const workers = 2
	makers := make([]func(*rand.Rand, int) Case, workers)
	for w := range makers {
		makers[w] = start(w)
	}
	done := make(chan struct{})
	stop, release := signal.NotifyContext(t.Context(), os.Interrupt)
	defer release()
	watched := make([]watched, workers)
	go r.watch(watched, done)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			runtime.LockOSThread() // the clock is the thread's
			defer runtime.UnlockOSThread()
			for i := w; i < count && !r.full() && stop.Err() == nil; i += workers {
				r.one(&watched[w], i, makers[w])
			}
		})
	}
	wg.Wait()
	close(done)
	r.report()
	return r.outcomes
}

type run struct {
	t      *testing.T
	count  int
	bounds Bounds

	alone sync.RWMutex // held for writing while one input is measured by itself

	mu        sync.Mutex
	outcomes  map[string]int
	faults    int
	slowest   extreme[time.Duration] // CPU of one input
	largest   extreme[uint64]        // bytes allocated for one, at most
	inputSize uint64                 // of all
}

// extreme is the largest of a kind, and which input it was.
type extreme[T time.Duration | uint64] struct {
	value        T
	number, size int
}

func (e *extreme[T]) note(v T, number, size int) {
	if v > e.value {
		*e = extreme[T]{v, number, size}
	}
}

func (r *run) full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.faults >= maxFaults
}

// one makes and tries the input of a number.
func (r *run) one(w *watched, number int, make func(*rand.Rand, int) Case) {
	c := make(rand.New(rand.NewPCG(uint64(r.count), uint64(number))), number)
	r.alone.RLock()
	w.begin(number, c.Input)
	cpu, before := threadCPU(), allocated()
	outcome, err := safely(c.Try)
	took, grown := threadCPU()-cpu, allocated()-before
	w.end()
	r.alone.RUnlock()
	most := r.bounds.Constant + r.bounds.PerByte*uint64(len(c.Input))
	if grown > most && err == nil {
		// The other goroutine's are in it: again, with nothing beside it.
		if grown = r.measured(c); grown > most {
			err = fmt.Errorf("%d bytes were allocated for it, at most %d may be", grown, most)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outcomes[outcome]++
	r.inputSize += uint64(len(c.Input))
	r.slowest.note(took, number, len(c.Input))
	r.largest.note(grown, number, len(c.Input))
	if err != nil && r.faults < maxFaults {
		r.faults++
		r.t.Errorf("input %d of %d (%d bytes, in %s): %v", number, r.count, len(c.Input), keep(c.Input), err)
	}
}

func (r *run) measured(c Case) uint64 {
	r.alone.Lock()
	defer r.alone.Unlock()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _ = safely(c.Try)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// safely makes an error of a panic.
func safely(try func() (string, error)) (outcome string, err error) {
	defer func() {
		if p := recover(); p != nil {
			outcome, err = "panic", fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return try()
}

// keep leaves an input for whoever looks into it; it outlives the test.
func keep(input []byte) string {
	f, err := os.CreateTemp("", "kmend-hostile-*")
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if _, err := f.Write(input); err != nil {
		return err.Error()
	}
	return f.Name()
}

// threadCPU is the time that this thread had.
func threadCPU() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// allocated is what the process ever allocated, in bytes.
func allocated() uint64 {
	s := [1]metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s[:])
	return s[0].Value.Uint64()
}

// watched is what one goroutine is at.
type watched struct {
	mu     sync.Mutex
	busy   bool
	number int
	input  []byte
	ticks  int
}

func (w *watched) begin(number int, input []byte) {
	w.mu.Lock()
	w.busy, w.number, w.input, w.ticks = true, number, input, 0
	w.mu.Unlock()
}

func (w *watched) end() {
	w.mu.Lock()
	w.busy, w.input = false, nil
	w.mu.Unlock()
}

// watch ends the process if an input does not come to an end. It counts ticks
// that it saw, so time in which the whole machine stood still is not counted.
func (r *run) watch(list []watched, done <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		for i := range list {
			w := &list[i]
			w.mu.Lock()
			if w.ticks++; w.busy && w.ticks > hang {
				panic(fmt.Sprintf("input %d of %d (%d bytes, in %s) does not end", w.number, r.count, len(w.input), keep(w.input)))
			}
			w.mu.Unlock()
		}
	}
}

// report logs what was seen, and holds the bound on the process.
func (r *run) report() {
	r.t.Helper()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	total := 0
	var kinds []string
	for _, k := range slices.Sorted(maps.Keys(r.outcomes)) {
		total += r.outcomes[k]
		kinds = append(kinds, fmt.Sprintf("%d %s", r.outcomes[k], k))
	}
	r.t.Logf("%d inputs of %d bytes on average: %s; the slowest took %v of CPU (number %d, %d bytes); at most %d kB were allocated for one (number %d, %d bytes); %d MB of memory from the system",
		total, r.inputSize/uint64(max(total, 1)), strings.Join(kinds, ", "), r.slowest.value.Round(10*time.Microsecond), r.slowest.number, r.slowest.size,
		r.largest.value>>10, r.largest.number, r.largest.size, mem.Sys>>20)
	if total < r.count {
		r.t.Errorf("ended before the last of %d inputs", r.count)
	}
	if mem.Sys > r.bounds.Memory {
		r.t.Errorf("%d MB of memory were taken from the system, at most %d may be", mem.Sys>>20, r.bounds.Memory>>20)
	}
}
