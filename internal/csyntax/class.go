// SPDX-License-Identifier: Apache-2.0

package csyntax

import "kmend/internal/ctext"

// class is what the parser sees of a token, by its spelling.
type class uint8

const (
	cOther class = iota // identifiers that are no keywords, literals, and what no C program has
	cEnd                // behind the last token

	cLParen
	cRParen
	cLBracket
	cRBracket
	cLBrace
	cRBrace
	cSemi
	cComma
	cColon
	cQuestion
	cAssign
	cStar
	cAmp
	cAndAnd
	cDot
	cArrow
	cIncDec
	cSign   // + -
	cNot    // ! ~
	cBinary // operators that are binary only
	cEllipsis

	cTypedef
	cExtern
	cStatic
	cInline
	cRegister
	cThread
	cSpecifier // auto, _Noreturn
	cConst
	cQualifier
	cAtomic
	cAlignas
	cAttribute
	cType
	cAutoType
	cStruct
	cUnion
	cEnum
	cTypeof

	cAsm
	cAssert
	cExtension
	cSizeof
	cUnaryWord
	cGeneric
	cOffsetof
	cTypes   // __builtin_types_compatible_p
	cVaArg   // builtins whose second argument is a type
	cHasAttr // __builtin_has_attribute

	cIf
	cElse
	cWhile
	cDo
	cFor
	cSwitch
	cCase
	cDefault
	cGoto
	cJump // break, continue
	cReturn
	cLabel
)

// spellings of each class: C11 and what GCC adds (gcc/c-family/c-common.cc,
// c_common_reswords; types that the compiler declares itself are here too,
// since no program declares them).
var spellings = map[class][]string{
	cLParen: {"("}, cRParen: {")"}, cLBracket: {"["}, cRBracket: {"]"}, cLBrace: {"{"}, cRBrace: {"}"},
	cSemi: {";"}, cComma: {","}, cColon: {":"}, cQuestion: {"?"}, cAssign: {"="}, cStar: {"*"}, cAmp: {"&"},
	cAndAnd: {"&&"}, cDot: {"."}, cArrow: {"->"}, cIncDec: {"++", "--"}, cSign: {"+", "-"}, cNot: {"!", "~"},
	cBinary: {"/", "%", "<<", ">>", "<", ">", "<=", ">=", "==", "!=", "^", "|", "||",
		"*=", "/=", "%=", "+=", "-=", "<<=", ">>=", "&=", "^=", "|="},
	cEllipsis: {"..."},

	cTypedef: {"typedef"}, cExtern: {"extern"}, cStatic: {"static"}, cInline: {"inline", "__inline", "__inline__"},
	cRegister: {"register"}, cThread: {"_Thread_local", "__thread"}, cSpecifier: {"auto", "_Noreturn"},
	cConst:     {"const", "__const", "__const__"},
	cQualifier: {"volatile", "__volatile", "__volatile__", "restrict", "__restrict", "__restrict__", "__seg_gs", "__seg_fs"},
	cAtomic:    {"_Atomic"}, cAlignas: {"_Alignas"}, cAttribute: {"__attribute__", "__attribute"},
	cType: {"void", "char", "short", "int", "long", "float", "double", "signed", "__signed", "__signed__", "unsigned",
		"_Bool", "_Complex", "__complex", "__complex__", "_Fract", "_Accum", "_Sat", "__int128",
		"_Float16", "_Float32", "_Float64", "_Float128", "_Float32x", "_Float64x", "__float80", "__float128", "__ibm128",
		"_Decimal32", "_Decimal64", "_Decimal128", "__bf16",
		"__int128_t", "__uint128_t", "__builtin_va_list", "__builtin_ms_va_list", "__builtin_sysv_va_list"},
	cAutoType: {"__auto_type"}, cStruct: {"struct"}, cUnion: {"union"}, cEnum: {"enum"},
	cTypeof: {"typeof", "__typeof", "__typeof__", "typeof_unqual", "__typeof_unqual", "__typeof_unqual__"},

	cAsm: {"asm", "__asm", "__asm__"}, cAssert: {"_Static_assert"}, cExtension: {"__extension__"},
	cSizeof:    {"sizeof", "_Alignof", "__alignof", "__alignof__"},
	cUnaryWord: {"__real", "__real__", "__imag", "__imag__"},
	cGeneric:   {"_Generic"}, cOffsetof: {"__builtin_offsetof"}, cTypes: {"__builtin_types_compatible_p"},
	cVaArg: {"__builtin_va_arg", "__builtin_convertvector"}, cHasAttr: {"__builtin_has_attribute"},

	cIf: {"if"}, cElse: {"else"}, cWhile: {"while"}, cDo: {"do"}, cFor: {"for"}, cSwitch: {"switch"}, cCase: {"case"},
	cDefault: {"default"}, cGoto: {"goto"}, cJump: {"break", "continue"}, cReturn: {"return"}, cLabel: {"__label__"},
}

// classes is the class of every name of a table.
func classes(names *ctext.Names) []class {
	out := make([]class, names.Len())
	for c, texts := range spellings {
		for _, text := range texts {
			if name, ok := names.Lookup(text); ok {
				out[name] = c
			}
		}
	}
	return out
}
