# SPDX-License-Identifier: Apache-2.0
	.text
	.globl	_start, __fentry__
	.type	_start, @function
	.type	__fentry__, @function
_start:	ret
	.size	_start, .-_start
	.p2align 4
__fentry__: ret
	.size	__fentry__, .-__fentry__
