// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sync/semaphore"
)

// Jobs bounds how many heavy commands run at the same time. One value is shared
// by the whole program: two compiles of one translation unit and compiles of
// several units take their places from the same pool.
type Jobs struct {
	sem *semaphore.Weighted
	n   int
}

// NewJobs makes a pool of n places; n < 1 means one per CPU.
func NewJobs(n int) *Jobs {
	if n < 1 {
		n = runtime.NumCPU()
	}
	return &Jobs{sem: semaphore.NewWeighted(int64(n)), n: n}
}

// N is the number of places.
func (j *Jobs) N() int { return j.n }

// Acquire waits for a place and returns the function that gives it back. A
// holder must not acquire a second place: with one place in all it would wait
// for itself.
func (j *Jobs) Acquire(ctx context.Context) (release func(), err error) {
	if err := j.sem.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("wait for a free job: %w", err)
	}
	return func() { j.sem.Release(1) }, nil
}

// Run waits for a place and runs c.
func (j *Jobs) Run(ctx context.Context, c Cmd) (*Output, error) {
	release, err := j.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	return Run(ctx, c)
}
