// SPDX-License-Identifier: Apache-2.0

package levels

import (
	"math"
	"slices"
)

// Distribution is how many other functions must be replaced along with one, over
// many functions.
type Distribution struct {
	Any  float64 `json:"any"` // share of functions with at least one
	Mean float64 `json:"mean"`
	P50  int     `json:"p50"`
	P90  int     `json:"p90"`
	P99  int     `json:"p99"`
	Max  int     `json:"max"`
}

// distribution sums numbers up; the zero value stands for none.
func distribution(numbers []int) (d Distribution) {
	if len(numbers) == 0 {
		return d
	}
	n := slices.Sorted(slices.Values(numbers))
	sum, any := 0, 0
	for _, v := range n {
		sum += v
		if v > 0 {
			any++
		}
	}
	// The smallest number that at least this share of all does not exceed.
	rank := func(share float64) int { return n[max(0, int(math.Ceil(share*float64(len(n))))-1)] }
	all := float64(len(n))
	return Distribution{Any: float64(any) / all, Mean: float64(sum) / all, P50: rank(.5), P90: rank(.9), P99: rank(.99), Max: n[len(n)-1]}
}

// median of an odd or even number of values, at least one.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	if len(v)%2 == 1 {
		return v[len(v)/2]
	}
	return (v[len(v)/2-1] + v[len(v)/2]) / 2
}

// geometricMean of ratios, at least one, all positive.
func geometricMean(ratios []float64) float64 {
	sum := 0.0
	for _, r := range ratios {
		sum += math.Log(r)
	}
	return math.Exp(sum / float64(len(ratios)))
}
