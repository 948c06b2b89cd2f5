/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Entry into L2 and return from it, see struct nested_ctx.
 */

#define CTX_X(n)	((n) * 8)
#define CTX_SEPC	256
#define CTX_HSTATUS	264
#define CTX_SSTATUS	272
#define CTX_SCAUSE	280
#define CTX_STVAL	288
#define CTX_HTVAL	296
#define CTX_HTINST	304
#define CTX_L1(n)	(312 + (n) * 8)

#define CSR_HSTATUS	0x600
#define CSR_HTVAL	0x643
#define CSR_HTINST	0x64a

.macro for_l1 op
	\op	ra, CTX_L1(0)(a0)
	\op	sp, CTX_L1(1)(a0)
	\op	gp, CTX_L1(2)(a0)
	\op	tp, CTX_L1(3)(a0)
	\op	s0, CTX_L1(4)(a0)
	\op	s1, CTX_L1(5)(a0)
	\op	s2, CTX_L1(6)(a0)
	\op	s3, CTX_L1(7)(a0)
	\op	s4, CTX_L1(8)(a0)
	\op	s5, CTX_L1(9)(a0)
	\op	s6, CTX_L1(10)(a0)
	\op	s7, CTX_L1(11)(a0)
	\op	s8, CTX_L1(12)(a0)
	\op	s9, CTX_L1(13)(a0)
	\op	s10, CTX_L1(14)(a0)
	\op	s11, CTX_L1(15)(a0)
.endm

.macro for_l2 op
	\op	x1, CTX_X(1)(a0)
	\op	x2, CTX_X(2)(a0)
	\op	x3, CTX_X(3)(a0)
	\op	x4, CTX_X(4)(a0)
	\op	x5, CTX_X(5)(a0)
	\op	x6, CTX_X(6)(a0)
	\op	x7, CTX_X(7)(a0)
	\op	x8, CTX_X(8)(a0)
	\op	x9, CTX_X(9)(a0)
	\op	x11, CTX_X(11)(a0)
	\op	x12, CTX_X(12)(a0)
	\op	x13, CTX_X(13)(a0)
	\op	x14, CTX_X(14)(a0)
	\op	x15, CTX_X(15)(a0)
	\op	x16, CTX_X(16)(a0)
	\op	x17, CTX_X(17)(a0)
	\op	x18, CTX_X(18)(a0)
	\op	x19, CTX_X(19)(a0)
	\op	x20, CTX_X(20)(a0)
	\op	x21, CTX_X(21)(a0)
	\op	x22, CTX_X(22)(a0)
	\op	x23, CTX_X(23)(a0)
	\op	x24, CTX_X(24)(a0)
	\op	x25, CTX_X(25)(a0)
	\op	x26, CTX_X(26)(a0)
	\op	x27, CTX_X(27)(a0)
	\op	x28, CTX_X(28)(a0)
	\op	x29, CTX_X(29)(a0)
	\op	x30, CTX_X(30)(a0)
	\op	x31, CTX_X(31)(a0)
.endm

	.text
	.option norelax
	.option norvc
	.global nested_run
nested_run:
	for_l1	sd

	/* Interrupts of L1 end L2, they are not taken here */
	csrci	sstatus, 2
	ld	t0, CTX_HSTATUS(a0)
	csrw	CSR_HSTATUS, t0
	ld	t0, CTX_SSTATUS(a0)
	csrw	sstatus, t0
	ld	t0, CTX_SEPC(a0)
	csrw	sepc, t0
	la	t0, 1f
	csrrw	t0, stvec, t0
	sd	t0, CTX_SCAUSE(a0)
	csrrw	t0, sscratch, a0
	sd	t0, CTX_STVAL(a0)
	for_l2	ld
	ld	a0, CTX_X(10)(a0)
	sret

	.balign	4
1:
	csrrw	a0, sscratch, a0
	for_l2	sd
	for_l1	ld
	/* stvec and sscratch of L1 were kept where the exit is reported */
	ld	t0, CTX_SCAUSE(a0)
	csrw	stvec, t0
	ld	t0, CTX_STVAL(a0)
	csrrw	t0, sscratch, t0
	sd	t0, CTX_X(10)(a0)

	csrr	t0, sepc
	sd	t0, CTX_SEPC(a0)
	csrr	t0, CSR_HSTATUS
	sd	t0, CTX_HSTATUS(a0)
	csrr	t0, sstatus
	sd	t0, CTX_SSTATUS(a0)
	csrr	t0, scause
	sd	t0, CTX_SCAUSE(a0)
	csrr	t0, stval
	sd	t0, CTX_STVAL(a0)
	csrr	t0, CSR_HTVAL
	sd	t0, CTX_HTVAL(a0)
	csrr	t0, CSR_HTINST
	sd	t0, CTX_HTINST(a0)
	ret
