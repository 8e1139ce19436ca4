# SPDX-License-Identifier: Apache-2.0
# Encodings that compilers rarely emit and kernels use.
	.text
odd:
	movabs	%al, 0x1122334455667788
	movabs	0x1122334455667788, %rax
	addr32 mov %eax, 0x11223344
	movabs	$0x1122334455667788, %r9
	mov	$0x11223344, %r9d
	mov	$0x1122, %r9w
	mov	$-5, %r9
	enter	$0x1234, $3
	ret	$8
	lret	$8
	lretq
	iretq
	testb	$1, (%rax)
	testw	$0x1122, 8(%rax,%rbx,4)
	testl	$0x11223344, sym(%rip)
	testq	$0x11223344, %gs:0x1234
	notl	sym(%rip)
	divq	0x11223344(,%rcx,8)
	movb	$7, sym(%rip)
	movw	$0x1122, sym(%rip)
	movq	$sym, sym(%rip)
	mov	%cr0, %rax
	mov	%rax, %cr8
	mov	%db7, %rax
	lgdt	(%rax)
	vmcall
	vmlaunch
	vmread	%rax, (%rbx)
	vmwrite	sym(%rip), %rax
	vmptrld	(%rax)
	vmxon	(%rax)
	invept	(%rax), %rbx
	stgi
	clgi
	vmrun	%rax
	vmmcall
	xgetbv
	xsetbv
	rdpkru
	wrpkru
	encls
	serialize
	monitor
	mwait
	rdmsr
	wrmsr
	rdseed	%rax
	rdrand	%r12d
	rdpid	%rax
	clac
	stac
	swapgs
	wbinvd
	invpcid	(%rax), %rbx
	invlpg	(%rax)
	clflushopt (%rax)
	clwb	(%rax)
	adcx	%rax, %rbx
	adox	sym(%rip), %rbx
	mulx	%rax, %rbx, %rcx
	rorx	$5, %rax, %rbx
	shrx	%rax, sym(%rip), %rcx
	crc32b	(%rax), %ebx
	pclmulqdq $0x11, %xmm0, %xmm1
	aesenc	%xmm0, %xmm1
	vaesenc	%zmm0, %zmm1, %zmm2
	sha256rnds2 %xmm0, %xmm1, %xmm2
	pshufb	sym(%rip), %xmm1
	vpshufb	sym(%rip), %ymm1, %ymm2
	vpternlogd $0x96, sym(%rip), %zmm1, %zmm2{%k1}
	vpcmpeqd 0x40(%rax), %zmm1, %k2
	vmovdqu64 0x12345(%rax), %zmm31
	kmovq	%k1, %rax
	kortestw %k1, %k2
	kunpckbw %k1, %k2, %k3
	vzeroupper
	vzeroall
	vpgatherdd %ymm0, (%rax,%ymm1,4), %ymm2
	vcvtph2ps (%rax), %zmm1
	vaddph	%zmm1, %zmm2, %zmm3
	vfmadd132ph %zmm1, %zmm2, %zmm3
	tdpbssd	%tmm0, %tmm1, %tmm2
	extrq	$1, $2, %xmm0
	insertq	$1, $2, %xmm0, %xmm1
	pfadd	(%rax), %mm0
	fldcw	(%rax)
	fxsave64 (%rax)
	fnstsw	%ax
	xsaveopt64 (%rax)
	cmpxchg16b (%rax)
	lock cmpxchg %rax, sym(%rip)
	lock addl $1, %gs:sym(%rip)
	xacquire lock incl (%rax)
	bts	$5, sym(%rip)
	shld	$3, %rax, sym(%rip)
	shrd	%cl, %rax, (%rbx)
	imul	$1000, sym(%rip), %eax
	imul	$10, sym(%rip), %eax
	push	$0x11223344
	push	$5
	push	%r15
	pushw	$0x1122
	pop	(%rax)
	int	$0x80
	int3
	int1
	syscall
	sysretq
	sysenter
	cpuid
	bswap	%r8
	in	$5, %al
	out	%eax, %dx
	rep insb
	repne scasb
	rep movsq
	xlat
	cmpsb
	lea	(%rsp,%r12,8), %rax
	lea	(%r13), %rax
	lea	(%r12), %rax
	lea	0x11223344, %rax
	lea	sym+5(%rip), %rax
	movzbl	sym(%rip), %eax
	movslq	sym(%rip), %rax
	cmove	sym(%rip), %rax
	setne	sym(%rip)
	call	*sym(%rip)
	jmp	*sym(,%rax,8)
	notrack jmp *%rax
	bnd jmp	*%rax
	bnd ret
	call	sym
	jmp	sym
	jne	sym
	jne,pn	1f
	jrcxz	1f
	jecxz	1f
	loop	1f
	loopne	1f
	xbegin	1f
	xabort	$3
	xend
	jmp	1f
	cs je	1f
1:	endbr64
	rdsspq	%rax
	saveprevssp
	incsspq	%rax
	wrssq	%rax, (%rbx)
	pause
	ud1	sym(%rip), %eax
	ud0	%eax, %ebx
	ud2
	pconfig
	movdiri	%rax, (%rbx)
	movdir64b (%rax), %rbx
	enqcmd	(%rax), %rbx
	umwait	%eax
	tpause	%eax
	cldemote (%rax)
	ptwrite	%eax
	uiret
	.irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	.nops \n
	.endr
	.p2align 5
	ret
