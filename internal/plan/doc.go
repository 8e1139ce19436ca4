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
// # Functions as they are
//
// Request.Functions asks for a plan without a fix: before and after are the same
// unit. Since bodies are going to be edited, everything whose code depends on
// one is replaced along with it, found by hiding the bodies and looking whose
// code differs, until nothing is added.
//
// # The source way, and why its code may be mixed with the kernel's
//
// FromSource takes the new code of a plan from the objects of extracted files,
// each compiled apart from its unit. The plan with the binary way stays the
// authority on what is replaced, and on what the unit's items are in the running
// kernel: an extracted file must define just the functions to be replaced, a
// name that it only declares is the item of that name of the unit with the fix,
// and so the item before the fix, and so what run-pre matching found. Its static
// locals are tied to the unit's variables (delta.CompareExtraction); one that is
// not tied is refused, never a second variable.
//
// The extracted text is the unit's text, so both compiles make code for the same
// abstract program. What could be wrong are things that GCC knew in one of them
// only:
//
//   - Code of the extracted file that rests on a fact which does not hold in the
//     kernel. Of what the file only declares GCC knows nothing. Of a static local
//     it sees every use by name, as in the unit. Of a variable of the unit that
//     the file defines it would believe that nobody else writes it: refused.
//   - The kernel's functions that the file calls where they are and whose code
//     rests on facts about their callers. The audit finds those in the unit before
//     the fix (oracle.Unit.FittedToCallers); those that are the same in the unit
//     with the fix saw the calls of the new text, as far as the unit's object
//     still has them. A call that is there only as a copied body or through a
//     clone may have been gone when GCC looked at the callers, so the numbers of
//     calls must agree, function by function; else CopyError asks for a copy.
//     Where edits are to come, every such function must be copied.
//   - A clone (.isra, .constprop, .part) whose interface GCC made up: C text
//     cannot call or be one. Where one changes, its callers are replaced; one
//     that the kernel has is never called, since its name is none of C.
//   - Unreplaced functions of the kernel that rest on facts about replaced ones.
//     Those facts are about what the text does. How it does it matters for two
//     that concern the interface: which registers a call leaves alone (-fipa-ra,
//     which -pg switches off, and without -pg there is no fentry), and clones, see
//     above.
//   - Identity: a copy of a function whose address becomes a value is refused.
//
// And none of this is left to the argument alone: every function that the file
// defines is compared with the unit's (Prove), and a difference that no rule
// explains is refused. The rule that explains most, unit-knowledge, is a compile
// of the whole unit in which GCC is kept from knowing what it cannot know of the
// extracted file: it gives the extracted file's code. Only inlining, clone and
// callee-not-inlined take a difference for granted, and only where the extractor
// vouches that the texts are equal token by token.
//
// It knows every stage of the analysis. It must not know module formats, or how
// a plan is shown.
package plan
