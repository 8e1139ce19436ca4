// SPDX-License-Identifier: Apache-2.0

// Package plan makes and holds the plan: which functions of which objects must
// be replaced so that a fix takes effect, why each is there, how every symbol
// the new code needs will be found in the running kernel, what was proved of
// it, and what was refused.
//
// Make is the pipeline: apply the patches (package patch), compile each
// translation unit before and after (kbuild), compare (delta), follow
// references (closure), prove that what was compiled before is what runs
// (runpre), and resolve what is needed from the running kernel. A Plan is
// plain data with a JSON form (docs/json.md); Build carries the compiled pieces
// beside it for whoever writes a module.
//
// Nothing is guessed. Whatever cannot be proved becomes a Refusal with a stable
// code (docs/refusals.md), and a plan with a refusal has no Build.
//
// It knows every stage of the analysis. It must not know module formats, or how
// a plan is shown.
package plan
