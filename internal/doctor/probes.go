// SPDX-License-Identifier: Apache-2.0

package doctor

import "slices"

// Probes lists all probes in the order in which they are shown.
var Probes = slices.Concat(bodyProbes, callerProbes, variableProbes, placementProbes)

// bodyProbes: the same caller, another callee.
var bodyProbes = []Probe{
	{
		Name: "inlined", Fact: "the body is copied into a caller",
		About: Body, Option: "inline", Source: "gcc/ipa-inline.cc; LLVM inline",
		Text: `
SMALL int callee(int x) { BODY }
int watch(int x) { return ext1(callee(x)); }
`,
		One: `return x + 1;`, Two: `return x + 2;`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-inline"},
	},
	{
		Name: "partly-inlined", Fact: "the test at the begin is copied into a caller",
		About: Body, Option: "partial-inlining", Source: "gcc/ipa-split.cc; LLVM partial-inliner",
		Text: `
SMALL void callee(int *p, int x)
{
	int i;
	BODY
	for (i = 0; i < x; i++) {
		ext(); p[i] = ext1(p[i]); ext(); p[i + 1] += ext1(i); ext(); p[i + 2] -= ext1(x); ext();
		ext(); p[i] = ext1(p[i]); ext(); p[i + 1] += ext1(i); ext(); p[i + 2] -= ext1(x); ext();
	}
}
void watch(int *p, int x) { callee(p, x); ext(); }
void watch2(int *p, int x) { callee(p, x + 1); ext(); }
`,
		One: `if (!p) return;`, Two: `ext();`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-partial-inlining"},
	},
	{
		Name: "store-dropped", Fact: "the callee always writes *p, so a store before the call is dropped",
		About: Body, Option: "ipa-modref", Source: "gcc/ipa-modref.cc (kills); LLVM function-attrs, DSE",
		Text: `
GLOBAL void callee(int *p, int x) { BODY }
int watch(int x) { int v = 0; callee(&v, x); return v; }
`,
		One: `*p = x;`, Two: `if (x) *p = x;`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-ipa-modref"},
	},
	{
		Name: "load-reused", Fact: "the callee does not write there, so a value read before the call is used after it",
		About: Body, Option: "ipa-modref", Source: "gcc/ipa-modref.cc; LLVM function-attrs (argmemonly)",
		Text: `
GLOBAL void callee(int *p) { BODY }
int watch(void) { int l = 0, t = g; callee(&l); return t + g + l; }
`,
		One: `*p = 3;`, Two: `*p = 3; g = 2;`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-ipa-modref"},
	},
	{
		Name: "not-escaped", Fact: "the callee does not keep the pointer, so a local variable stays unchanged over a later call",
		About: Body, Option: "ipa-modref", Source: "gcc/ipa-modref.cc (EAF flags); LLVM function-attrs (nocapture)",
		Text: `
extern int *kept;
GLOBAL void callee(int *p) { BODY }
int watch(int x) { int v = x; callee(&v); ext(); return v; }
`,
		One: `g = *p;`, Two: `g = *p; kept = p;`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-ipa-modref", "-fno-ipa-modref -fno-ipa-pure-const"},
	},
	{
		Name: "static-kept", Fact: "the callee does not write a static variable, whose value is kept over the call",
		About: Body, Option: "ipa-reference", Source: "gcc/ipa-reference.cc, gcc/ipa-modref.cc; LLVM globals-aa",
		Text: `
static int v;
GLOBAL void callee(void) { BODY }
int watch(int x) { v = x; callee(); return v; }
int reader(void) { return v; }
`,
		One: `h = 1;`, Two: `h = 1; v = 9;`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-ipa-reference", "-fno-ipa-modref", "-fno-ipa-reference -fno-ipa-modref"},
	},
	{
		Name: "pure", Fact: "the callee writes nothing, so a second call is merged with the first",
		About: Body, Option: "ipa-pure-const", Source: "gcc/ipa-pure-const.cc, gcc/ipa-modref.cc; LLVM function-attrs (readonly)",
		Text: `
GLOBAL int callee(int x) { BODY }
int watch(int x) { return callee(x) + callee(x); }
`,
		One: `return x * 3 + g;`, Two: `h = 5; return x * 3 + g;`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-ipa-pure-const", "-fno-ipa-modref", "-fno-ipa-pure-const -fno-ipa-modref", "-fno-ipa-pure-const -fno-ipa-modref -fno-ipa-ra"},
	},
	{
		Name: "const", Fact: "the callee reads nothing but its arguments, so its result is kept over any other call",
		About: Body, Option: "ipa-pure-const", Source: "gcc/ipa-pure-const.cc; LLVM function-attrs (readnone)",
		Text: `
GLOBAL int callee(int x) { BODY }
int watch(int x) { int a = callee(x); ext(); return a + callee(x); }
`,
		One: `return x * x + 7;`, Two: `return x * x + g;`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-ipa-pure-const", "-fno-ipa-modref", "-fno-ipa-pure-const -fno-ipa-modref", "-fno-ipa-pure-const -fno-ipa-modref -fno-ipa-ra"},
	},
	{
		Name: "call-dropped", Fact: "the callee has no effect, so the call is dropped",
		About: Body, Option: "ipa-pure-const", Source: "gcc/ipa-pure-const.cc; LLVM function-attrs, instcombine",
		Text: `
GLOBAL void callee(int x) { BODY }
void watch(int x) { ext(); callee(x); ext(); }
`,
		One: `(void)x;`, Two: `ext1(x);`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-ipa-pure-const", "-fno-ipa-modref", "-fno-ipa-pure-const -fno-ipa-modref", "-fno-ipa-pure-const -fno-ipa-modref -fno-ipa-ra"},
	},
	{
		Name: "noreturn", Fact: "the callee does not return, so the code behind the call is dropped",
		About: Body, Option: "ipa-pure-const", Source: "gcc/ipa-pure-const.cc; LLVM function-attrs (noreturn)",
		Text: `
GLOBAL void callee(int x) { BODY }
int watch(int x) { if (x) callee(x); return ext1(x); }
`,
		One: `for (;;) ext1(x);`, Two: `for (; x < 9;) x = ext1(x);`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-ipa-pure-const"},
	},
	{
		Name: "malloc", Fact: "the callee returns fresh memory, so a store to it leaves other variables as they are",
		About: Body, Option: "ipa-pure-const", Source: "gcc/ipa-pure-const.cc (malloc); LLVM function-attrs (noalias)",
		Text: `
GLOBAL int *callee(void) { BODY }
int watch(void) { int *p = callee(); g = 1; *p = 2; return g; }
`,
		One: `return fresh();`, Two: `return extp();`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-ipa-pure-const"},
	},
	{
		Name: "returns-nonnull", Fact: "the callee never returns NULL, so the test for it is dropped",
		About: Body, Option: "ipa-vrp", Source: "gcc/tree-vrp.cc (14 and later); LLVM function-attrs (nonnull)",
		Text: `
GLOBAL int *callee(int x) { BODY }
int watch(int x) { int *p = callee(x); if (!p) ext(); return g; }
`,
		One: `ext(); return &arr[x & 7];`, Two: `ext(); return x ? &arr[x & 7] : 0;`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-ipa-vrp", "-fno-ipa-pure-const"},
	},
	{
		Name: "returns-argument", Fact: "the callee returns its argument, so the caller goes on with its own copy",
		About: Body, Source: "no pass of GCC 12; LLVM function-attrs (returned)",
		Text: `
GLOBAL int *callee(int *p) { BODY }
int *watch(int x) { return callee(&arr[1]); }
`,
		One: `ext(); return p;`, Two: `ext(); return extp();`, Changed: "callee", Watched: "watch",
	},
	{
		Name: "return-range", Fact: "the callee returns small numbers, so a test for a large one is dropped",
		About: Body, Option: "ipa-vrp", Source: "gcc/tree-vrp.cc (14 and later); LLVM ipsccp",
		Text: `
LOCAL unsigned int callee(int x) { BODY }
void watch(int x) { if (callee(x) > 100) ext(); }
`,
		One: `return ext1(x) & 7;`, Two: `return ext1(x);`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-ipa-vrp"},
	},
	{
		Name: "return-constant", Fact: "the callee returns always the same, so the caller does not look at its result",
		About: Body, Option: "ipa-vrp", Source: "gcc/tree-vrp.cc (14 and later); LLVM ipsccp",
		Text: `
LOCAL int callee(int x) { BODY }
int watch(int x) { return callee(x) + g; }
`,
		One: `ext1(x); return 7;`, Two: `return ext1(x);`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-ipa-vrp"},
	},
	{
		Name: "registers-kept", Fact: "the callee leaves registers alone that the ABI lets it change, and the caller keeps values in them over the call",
		About: Body, Option: "ipa-ra", Source: "gcc/final.cc (collect_fn_hard_reg_usage), gcc/function-abi.cc; LLVM -enable-ipra (off on x86)",
		Text: `
LOCAL int callee(int x) { __asm__ volatile("" : "+r"(x) : : BODY); return x; }
int watch(int x, int y) { return callee(x) + y; }
`,
		One: `"memory"`, Two: `"memory", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11"`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-ipa-ra"},
	},
	{
		Name: "stack-alignment", Fact: "the callee needs no aligned stack, so the caller does not align it",
		About: Body, Option: "ipa-stack-alignment", Source: "gcc/final.cc, gcc/calls.cc",
		Text: `
LOCAL void callee(void) { BODY }
void watch(void) { callee(); g = 1; }
`,
		One: `__asm__ volatile("" ::: "memory");`, Two: `int a[4] __attribute__((aligned(16))); __asm__ volatile("" :: "r"(a) : "memory");`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-ipa-stack-alignment"},
	},
	{
		Name: "folded", Fact: "two functions of one body become one, or one a jump to the other",
		About: Body, Option: "ipa-icf", Source: "gcc/ipa-icf.cc; LLVM mergefunc (off)",
		Text: `
LOCAL int callee(int x) { BODY }
static ` + noinline + ` int watch(int x) { int a = ext1(x) * 3; ext(); return ext1(x + a) + g; }
int user(int x) { return callee(x) + g; }
int user2(int x) { return watch(x) + h; }
`,
		One: `int a = ext1(x) * 3; ext(); return ext1(x + a) + g;`, Two: `int a = ext1(x) * 3; ext(); return ext1(x + a) + h;`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-ipa-icf"},
	},
	{
		Name: "argument-unused", Fact: "the callee does not use an argument, so the caller does not pass it",
		About: Interface, Option: "ipa-sra", Source: "gcc/ipa-sra.cc (.isra); LLVM deadargelim (same name)",
		Text: `
LOCAL int callee(int x, int y) { BODY }
int watch(int x, int y) { return callee(x, y * 5 + 1) + g; }
`,
		One: `ext(); return ext1(x);`, Two: `ext(); return ext1(x ^ y);`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-ipa-sra", "-fno-ipa-cp", "-fno-ipa-sra -fno-ipa-cp"},
	},
	{
		Name: "argument-split", Fact: "the callee only reads one field, so the caller passes that in place of the pointer",
		About: Interface, Option: "ipa-sra", Source: "gcc/ipa-sra.cc (.isra); LLVM argpromotion (same name)",
		Text: `
extern struct s *kept;
LOCAL int callee(struct s *p) { BODY }
int watch(struct s *p) { return callee(p) + 1; }
`,
		One: `return ext1(p->a) + g;`, Two: `kept = p; return ext1(p->a) + g;`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-ipa-sra"},
	},
}

// callerProbes: the same callee, another caller.
var callerProbes = []Probe{
	{
		Name: "argument-range", Fact: "callers pass numbers of a range only, so a test in the callee is dropped",
		About: Callers, Option: "ipa-vrp", Source: "gcc/ipa-cp.cc, gcc/ipa-prop.cc; LLVM ipsccp",
		Text: `
LOCAL void callee(int x) { if (!x) ext(); ext1(x); }
void caller(int x) { BODY }
`,
		One: `callee(1); callee(2);`, Two: `callee(1); callee(x);`, Changed: "caller", Watched: "callee",
		Off: []string{"-fno-ipa-vrp", "-fno-ipa-vrp -fno-ipa-bit-cp"},
	},
	{
		Name: "argument-bits", Fact: "callers pass numbers with known bits only, so a test of these is dropped",
		About: Callers, Option: "ipa-bit-cp", Source: "gcc/ipa-cp.cc (bits); LLVM ipsccp knows ranges only",
		Text: `
LOCAL int callee(int x) { return ext1(x & 3); }
int caller(int x) { BODY }
`,
		One: `return callee(x & ~3);`, Two: `return callee(x);`, Changed: "caller", Watched: "callee",
		Off: []string{"-fno-ipa-bit-cp", "-fno-ipa-vrp", "-fno-ipa-vrp -fno-ipa-bit-cp"},
	},
	{
		Name: "argument-nonnull", Fact: "callers never pass NULL, so the test for it is dropped",
		About: Callers, Option: "ipa-vrp", Source: "gcc/ipa-cp.cc, gcc/ipa-prop.cc; LLVM ipsccp",
		Text: `
LOCAL void callee(int *p) { if (!p) ext(); else *p = ext1(*p); }
void caller(int x, int *p) { BODY }
`,
		One: `callee(&arr[x]);`, Two: `callee(p);`, Changed: "caller", Watched: "callee",
		Off: []string{"-fno-ipa-vrp"},
	},
	{
		Name: "argument-constant", Fact: "callers pass always the same, which then is part of the callee and no longer passed",
		About: Interface, Option: "ipa-cp", Source: "gcc/ipa-cp.cc (.constprop); LLVM ipsccp, deadargelim (same name)",
		Text: `
LOCAL int callee(int x, int k) { return ext1(x * k) + k; }
int caller(int x, int y) { BODY }
int caller2(int x) { return callee(x, 7) + g; }
`,
		One: `return callee(x, 7);`, Two: `return callee(x, y);`, Changed: "caller", Watched: "callee",
		Off: []string{"-fno-ipa-cp"},
	},
	{
		Name: "result-unused", Fact: "callers ignore the result, so the callee does not make one",
		About: Interface, Option: "ipa-sra", Source: "gcc/ipa-sra.cc (.isra); LLVM deadargelim (same name)",
		Text: `
LOCAL int callee(int x) { ext1(x); return g * 5 + h; }
void caller(int x) { BODY }
`,
		One: `callee(x);`, Two: `h = callee(x);`, Changed: "caller", Watched: "callee",
		Off: []string{"-fno-ipa-sra"},
	},
	{
		Name: "result-known", Fact: "callers know the constant result, so the callee returns garbage",
		About: Interface, Source: "LLVM ipsccp, deadargelim (same name)",
		Text: `
LOCAL int callee(int x) { ext1(x); return 7; }
int (*taken)(int);
int caller(int x) { BODY }
`,
		One: `return callee(x) + g;`, Two: `taken = callee; return callee(x) + g;`, Changed: "caller", Watched: "callee",
		Off: []string{"-fno-ipa-sra"},
	},
}

// variableProbes: the same user of a static variable, another one beside it.
var variableProbes = []Probe{
	{
		Name: "variable-unwritten", Fact: "a static variable is never written, so its value is part of its readers",
		About: Variable, Option: "ipa-reference-addressable", Source: "gcc/ipa.cc (ipa_discover_variable_flags); LLVM globalopt, ipsccp",
		Text: `
VAR int v = 5;
void writer(int x) { BODY }
int watch(void) { return v + 1; }
`,
		One: `(void)x;`, Two: `v = x;`, Changed: "writer", Watched: "watch",
		Off: []string{"-fno-ipa-reference-addressable"},
	},
	{
		Name: "variable-unread", Fact: "a static variable is never read, so stores to it are dropped",
		About: Variable, Option: "ipa-reference-addressable", Source: "gcc/ipa.cc (ipa_discover_variable_flags); LLVM globalopt",
		Text: `
VAR int v;
int reader(void) { BODY }
void watch(int x) { v = x; ext(); }
`,
		One: `return 0;`, Two: `return v;`, Changed: "reader", Watched: "watch",
		Off: []string{"-fno-ipa-reference-addressable"},
	},
	{
		Name: "variable-address", Fact: "the address of a static variable is never taken, so no pointer can write it",
		About: Variable, Option: "ipa-reference-addressable", Source: "gcc/ipa.cc (ipa_discover_variable_flags); LLVM globals-aa",
		Text: `
VAR int v;
extern int *kept;
void taker(void) { BODY }
int watch(int x, int *p) { v = x; *p = 3; return v; }
`,
		One: `g = 1;`, Two: `kept = &v;`, Changed: "taker", Watched: "watch",
		Off: []string{"-fno-ipa-reference-addressable"},
	},
}

// placementProbes: facts that decide where code lies.
var placementProbes = []Probe{
	{
		Name: "cold", Fact: "the callee runs rarely, so its call is moved out of the way",
		About: Placement, Source: "gcc/predict.cc, gcc/ipa-profile.cc; LLVM function-attrs (cold)",
		Text: `
GLOBAL void callee(int x) { BODY }
int watch(int x) { if (x) callee(x); return ext1(x); }
`,
		One: `rare(x);`, Two: `ext1(x);`, Changed: "callee", Watched: "watch",
		Off: []string{"-fno-guess-branch-probability"},
	},
}
