// SPDX-License-Identifier: Apache-2.0

// Package report shows a plan to a person.
//
// It knows what a reviewer wants to see first. It must not know how a plan was
// made, nor what a terminal is: colour comes through Style.
package report
