// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"fmt"
	"math"
	"time"
)

// What a remaining time rests on before it is shown, and how long it remembers.
const (
	paceMemory  = 15 * time.Second // work older than this counts for less than 1/e; at first less
	paceStep    = 200 * time.Millisecond
	paceMinTime = 3 * time.Second
	paceMinStep = 4
	paceMaxLeft = 48 * time.Hour
)

// pace measures how fast a phase goes, recent work before old work: what a
// cache answers in the first second says little about the rest. Work and the
// time that it took are summed up separately, both fading with age; their
// quotient is the rate, and it is right from the first sample on.
type pace struct {
	start time.Time
	at    time.Time // of the last sample
	done  int64     // at that time
	n     int       // samples
	gap   float64   // longest time between two, in seconds, fading
	work  float64
	span  float64 // seconds
}

// sample notes how far the phase is. Steps that follow each other closely, as
// those of parallel workers do, are taken together.
func (c *pace) sample(now time.Time, done int64) {
	if c.at.IsZero() || done < c.done {
		*c = pace{start: now, at: now, done: done}
		return
	}
	d := now.Sub(c.at)
	if done == c.done || d < paceStep {
		return
	}
	f := c.fade(now, d.Seconds())
	c.work = c.work*f + float64(done-c.done)
	c.span = c.span*f + d.Seconds()
	c.gap = max(c.gap*f, d.Seconds())
	c.at, c.done = now, done
	c.n++
}

// fade is what remains of a weight after so many seconds. A young phase forgets
// faster, so that a beginning that was like nothing else is over soon.
func (c *pace) fade(now time.Time, seconds float64) float64 {
	memory := min(max(now.Sub(c.start)/4, 2*time.Second), paceMemory)
	return math.Exp(-seconds / memory.Seconds())
}

// left is how long the phase will still take; ok is false while that would be
// a guess. A phase that stalls for longer than it did between two steps gets
// slower with every look.
func (c *pace) left(now time.Time, total int64) (left time.Duration, ok bool) {
	if total <= c.done || c.n < paceMinStep || now.Sub(c.start) < paceMinTime {
		return 0, false
	}
	since := now.Sub(c.at).Seconds()
	work, span := c.work, c.span
	if stall := since - c.gap; stall > 0 {
		f := c.fade(now, stall)
		work, span = work*f, span*f+stall
	}
	s := float64(total-c.done)*span/work - min(since, c.gap)
	if !(s < paceMaxLeft.Seconds()) { // no number, or beyond belief
		return 0, false
	}
	return time.Duration(max(s, 0) * float64(time.Second)), true
}

// remaining words a remaining time no more precisely than it is known.
func remaining(d time.Duration) string {
	switch s := d.Seconds(); {
	case s < 60:
		return fmt.Sprintf("about %d s left", max(5, 5*int(math.Ceil(s/5))))
	case s < 90*60:
		return fmt.Sprintf("about %d min left", int(math.Ceil(s/60)))
	default:
		return fmt.Sprintf("about %.1f h left", s/3600)
	}
}
