/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Entry of exceptions and interrupts in a guest: save the registers as struct
 * ex_regs, let route_exception() handle it, and go on with what it left there.
 */
#ifndef __ASSEMBLY__
#define __ASSEMBLY__
#endif

#include <asm/csr.h>

/* 31 registers, epc, status and cause; the stack stays aligned */
#define FRAME	(8 * 34)

/* x2 is sp, which has its value from before in the frame like the others */
.macro each_reg insn
	.irp n, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, \
		19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	\insn	x\n, 8 * (\n - 1)(sp)
	.endr
.endm

.balign 4
.global exception_vectors
exception_vectors:
	addi	sp, sp, -FRAME
	each_reg sd
	addi	t0, sp, FRAME
	csrr	t1, CSR_SEPC
	csrr	t2, CSR_SSTATUS
	csrr	t3, CSR_SCAUSE
	sd	t0, 8(sp)
	sd	t1, 248(sp)
	sd	t2, 256(sp)
	sd	t3, 264(sp)

	mv	a0, sp
	call	route_exception

	ld	t1, 248(sp)
	ld	t2, 256(sp)
	csrw	CSR_SEPC, t1
	csrw	CSR_SSTATUS, t2
	each_reg ld
	addi	sp, sp, FRAME
	sret
