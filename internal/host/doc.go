// SPDX-License-Identifier: Apache-2.0

// Package host knows the live patches of the running kernel: it loads and
// unloads them, says who blocks a transition, and keeps what is to be loaded at
// boot. It does not know how a module is made.
package host
