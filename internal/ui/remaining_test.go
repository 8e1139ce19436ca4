// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"testing"
	"time"
)

// work is a phase of equal steps, one every step; it calls look after each.
func work(c *pace, from time.Time, done, n int64, step time.Duration, look func(now time.Time, done int64)) time.Time {
	for range n {
		from, done = from.Add(step), done+1
		c.sample(from, done)
		if look != nil {
			look(from, done)
		}
	}
	return from
}

func TestRemainingTimeIsHiddenUntilItMeansSomething(t *testing.T) {
	var c pace
	start := time.Unix(0, 0)
	c.sample(start, 0)
	work(&c, start, 0, 100, time.Second, func(now time.Time, done int64) {
		_, ok := c.left(now, 1000)
		if want := done >= paceMinStep; ok != want {
			t.Errorf("after %d steps in %d s: shown %t", done, done, ok)
		}
	})
	if _, ok := c.left(start.Add(100*time.Second), 0); ok {
		t.Error("shown without a total")
	}
}

func TestRemainingTimeOfAnEvenPhase(t *testing.T) {
	for _, step := range []time.Duration{10 * time.Millisecond, 300 * time.Millisecond, time.Second, 7 * time.Second} {
		var c pace
		now := time.Unix(0, 0)
		c.sample(now, 0)
		n := max(paceMinStep, int64(10*time.Second/step))
		now = work(&c, now, 0, n, step, nil)
		const more = 1000
		for _, later := range []time.Duration{0, step / 2} { // it counts down between two steps
			got, ok := c.left(now.Add(later), n+more)
			want := more*step - later
			if diff := (got - want).Abs(); !ok || diff > want/20+step {
				t.Errorf("steps of %v, %v later: %v left (%t), want about %v", step, later, got, ok, want)
			}
		}
	}
}

// The first half comes out of a cache in a second; the rest takes 1 s a step.
func TestRemainingTimeForgetsWhatACacheAnswered(t *testing.T) {
	var c pace
	now := time.Unix(0, 0)
	c.sample(now, 0)
	now = work(&c, now, 0, 500, 2*time.Millisecond, nil)
	now = work(&c, now, 500, 30, time.Second, nil)
	got, ok := c.left(now, 1000)
	if want := 470 * time.Second; !ok || (got-want).Abs() > want/4 {
		t.Errorf("%v left (%t), want about %v", got, ok, want)
	}
}

func TestRemainingTimeGrowsWhileAPhaseStalls(t *testing.T) {
	var c pace
	now := time.Unix(0, 0)
	c.sample(now, 0)
	now = work(&c, now, 0, 20, time.Second, nil)
	last, _ := c.left(now, 30)
	for s := 10; s <= 60; s += 10 {
		got, ok := c.left(now.Add(time.Duration(s)*time.Second), 30)
		if !ok || got <= last {
			t.Errorf("%d s into the stall %v are left, before %v", s, got, last)
		}
		last = got
	}
	if _, ok := c.left(now.Add(24*time.Hour), 30); ok {
		t.Error("a phase that stalls for a day has a remaining time")
	}
}

func TestRemainingTimeStartsAnewWithThePhase(t *testing.T) {
	var c pace
	now := time.Unix(0, 0)
	c.sample(now, 0)
	now = work(&c, now, 0, 20, time.Second, nil)
	c.sample(now, 0)
	if _, ok := c.left(now, 30); ok {
		t.Error("a phase that began again has a remaining time already")
	}
}

func TestRemainingWords(t *testing.T) {
	for d, text := range map[time.Duration]string{
		0:                 "about 5 s left",
		11 * time.Second:  "about 15 s left",
		59 * time.Second:  "about 60 s left",
		61 * time.Second:  "about 2 min left",
		100 * time.Minute: "about 1.7 h left",
	} {
		want(t, remaining(d), text)
	}
}

func TestProgressShowsTheRemainingTime(t *testing.T) {
	f := newFake(true, 80)
	for i := range int64(11) {
		f.Update("compile", i, 40)
		f.pass(time.Second)
	}
	f.take()
	f.Update("compile", 11, 40)
	f.pass(redrawEvery)
	want(t, f.take(), "\rcompile 11/40 (11 s, about 30 s left)\x1b[K")

	f = newFake(false, 0)
	for i := range int64(11) {
		f.Update("compile", i, 40)
		f.pass(time.Second)
	}
	want(t, f.take(), "compile\ncompile 9/40 (10 s, about 30 s left)\n")
}
