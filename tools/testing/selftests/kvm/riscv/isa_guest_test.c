// SPDX-License-Identifier: GPL-2.0
/*
 * ISA extensions at work in a guest.
 *
 * For each extension that a vCPU says to have, a snippet of guest code uses it
 * and compares with what the specification says.  For each extension that can
 * be taken from a vCPU, a vCPU without it must get the exception that a hart
 * without it raises.  isa_ext_test checks what vCPUs may have.
 *
 * Instructions are spelled as numbers where assemblers may not know them yet.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvm_util.h"
#include "kselftest.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

#define ILLEGAL			EXC_INST_ILLEGAL
#define NO_TRAP			(-1UL)

/* Pages of the guest: data, its leaf page table, and its code to be changed */
#define PAGE_VA			0x90000000UL
#define NR_PAGES		8
#define TABLE_VA		0x90100000UL
#define UNMAPPED_VA		0x90200000UL

#define LRSC_VCPUS		4
#define LRSC_LOOPS		20000

/* Written by the host before a vCPU runs: where PAGE_VA is in its table */
static unsigned long first_pte;
static unsigned long cboz_size;
static unsigned long timebase;

/* Traps: note the cause and go on behind the instruction */
static unsigned long trap_cause;

static void on_trap(struct ex_regs *regs)
{
	WRITE_ONCE(trap_cause, regs->cause);
	regs->epc += (*(unsigned short *)regs->epc & 3) == 3 ? 4 : 2;
}

/*
 * The cause of the trap that @stmt takes, or NO_TRAP.  Forgets it, so that
 * what is left in trap_cause in the end is a trap that was not expected.
 */
#define TRAP_OF(stmt) ({			\
	unsigned long _cause;			\
						\
	asm volatile("" : : : "memory");	\
	stmt;					\
	asm volatile("" : : : "memory");	\
	_cause = READ_ONCE(trap_cause);		\
	WRITE_ONCE(trap_cause, NO_TRAP);	\
	_cause;					\
})

/* Instructions with two source registers and one result, and with one of each */
#define INSN_R(opcode, funct3, funct7, rs1, rs2) ({			\
	unsigned long _rd;						\
	asm volatile(".insn r " #opcode ", " #funct3 ", " #funct7	\
		     ", %0, %1, %2" : "=&r" (_rd)			\
		     : "r" ((unsigned long)(rs1)),			\
		       "r" ((unsigned long)(rs2)) : "memory");		\
	_rd;								\
})
#define INSN_I(opcode, funct3, rs1, imm) ({				\
	unsigned long _rd;						\
	asm volatile(".insn i " #opcode ", " #funct3 ", %0, %1, " #imm	\
		     : "=r" (_rd) : "r" ((unsigned long)(rs1)));	\
	_rd;								\
})
/* An instruction without operands, or with a0 as source */
#define INSN(word)		({ asm volatile(".4byte " #word : : : "memory"); })
#define INSN_A0(word, val) ({						\
	register unsigned long _a0 asm("a0") = (unsigned long)(val);	\
	asm volatile(".4byte " #word : "+r" (_a0) : : "memory");	\
	_a0;								\
})
#define C_INSN_A0(half, val) ({						\
	register unsigned long _a0 asm("a0") = (unsigned long)(val);	\
	asm volatile(".2byte " #half : "+r" (_a0) : : "memory");	\
	_a0;								\
})

static unsigned long *pte_of(unsigned long page)
{
	return (unsigned long *)TABLE_VA + first_pte + page;
}

static void sfence_vma(void)
{
	asm volatile("sfence.vma" : : : "memory");
}

static unsigned long load(unsigned long va)
{
	unsigned long val = 0;

	asm volatile("ld %0, (%1)" : "+r" (val) : "r" (va) : "memory");
	return val;
}

static void store(unsigned long va, unsigned long val)
{
	asm volatile("sd %0, (%1)" : : "r" (val), "r" (va) : "memory");
}

/* Integer */

static void guest_m(void)
{
	GUEST_ASSERT_EQ(INSN_R(0x33, 0, 1, 7, -3), -21);	/* mul */
	GUEST_ASSERT_EQ(INSN_R(0x33, 4, 1, 7, 0), -1);		/* div */
	GUEST_ASSERT_EQ(INSN_R(0x33, 6, 1, 7, 0), 7);		/* rem */
	GUEST_ASSERT_EQ(INSN_R(0x33, 4, 1, BIT(63), -1), BIT(63));
}

static void guest_zba(void)
{
	GUEST_ASSERT_EQ(INSN_R(0x33, 2, 0x10, 5, 1), 11);	/* sh1add */
	GUEST_ASSERT_EQ(INSN_R(0x33, 6, 0x10, 5, 1), 41);	/* sh3add */
	GUEST_ASSERT_EQ(INSN_R(0x3b, 0, 4, -1, 1), BIT(32));	/* add.uw */
}

static void guest_zbb(void)
{
	GUEST_ASSERT_EQ(INSN_R(0x33, 7, 0x20, 0xff, 0x0f), 0xf0); /* andn */
	GUEST_ASSERT_EQ(INSN_I(0x13, 1, 1, 0x600), 63);		/* clz */
	GUEST_ASSERT_EQ(INSN_I(0x13, 1, 0xff, 0x602), 8);	/* cpop */
	GUEST_ASSERT_EQ(INSN_I(0x13, 5, 0x0102030405060708, 0x6b8),
			0x0807060504030201);			/* rev8 */
}

static void guest_zbc(void)
{
	GUEST_ASSERT_EQ(INSN_R(0x33, 1, 5, 7, 5), 27);		/* clmul */
	GUEST_ASSERT_EQ(INSN_R(0x33, 2, 5, BIT(63), BIT(63)), BIT(63));
}

static void guest_zbkc(void)
{
	GUEST_ASSERT_EQ(INSN_R(0x33, 1, 5, 7, 5), 27);		/* clmul */
	GUEST_ASSERT_EQ(INSN_R(0x33, 3, 5, BIT(63), 2), 1);	/* clmulh */
}

static void guest_zbs(void)
{
	GUEST_ASSERT_EQ(INSN_R(0x33, 1, 0x14, 0, 40), BIT(40));	/* bset */
	GUEST_ASSERT_EQ(INSN_R(0x33, 5, 0x24, BIT(40), 40), 1);	/* bext */
}

static void guest_zbkb(void)
{
	/* pack, brev8 */
	GUEST_ASSERT_EQ(INSN_R(0x33, 4, 4, 0x11, 0x22), 0x2200000011);
	GUEST_ASSERT_EQ(INSN_I(0x13, 5, 0x0180, 0x687), 0x8001);
}

static void guest_zbkx(void)
{
	/* xperm8: byte i of the result is byte rs2[i] of rs1, or 0 */
	GUEST_ASSERT_EQ(INSN_R(0x33, 4, 0x14, 0x44332211, 0xff000103),
			0x1111111100112244);
}

static void guest_zicond(void)
{
	GUEST_ASSERT_EQ(INSN_R(0x33, 5, 7, 5, 0), 0);		/* czero.eqz */
	GUEST_ASSERT_EQ(INSN_R(0x33, 5, 7, 5, 1), 5);
	GUEST_ASSERT_EQ(INSN_R(0x33, 7, 7, 5, 0), 5);		/* czero.nez */
	GUEST_ASSERT_EQ(INSN_R(0x33, 7, 7, 5, 1), 0);
}

static unsigned int ror(unsigned int val, unsigned int by)
{
	return val >> by | val << (32 - by);
}

static void guest_zknh(void)
{
	unsigned int x = 0x12345678, sum;

	sum = ror(x, 2) ^ ror(x, 13) ^ ror(x, 22);		/* sha256sum0 */
	GUEST_ASSERT_EQ((unsigned int)INSN_I(0x13, 1, x, 0x100), sum);
}

static void guest_zksh(void)
{
	unsigned int x = 0x12345678, p0;

	p0 = x ^ ror(x, 23) ^ ror(x, 15);			/* sm3p0 */
	GUEST_ASSERT_EQ((unsigned int)INSN_I(0x13, 1, x, 0x108), p0);
}

/* Hints and may-be-operations: nothing happens */

static void guest_hints(void)
{
	INSN(0x0100000f);					/* pause */
	INSN(0x00200033);					/* ntl.p1 */
	INSN(0x00500033);					/* ntl.all */
}

static void guest_zawrs(void)
{
	unsigned long word = 0, val;

	/*
	 * Each may return for any reason, and must with the reservation gone;
	 * wrs.sto must soon in any case.
	 */
	asm volatile("lr.d %0, (%1)\n.4byte 0x01d00073"
		     : "=&r" (val) : "r" (&word) : "memory");
	asm volatile("lr.d %0, (%1)\nsc.d %0, zero, (%1)\n.4byte 0x00d00073"
		     : "=&r" (val) : "r" (&word) : "memory");
}

/* C.MOP.n, n odd below 16, is 0x6001 | n << 7 and does not write xn */
#define C_MOP(n) ({							\
	unsigned long _val;						\
	asm volatile("mv t6, x" #n "\n"					\
		     "li x" #n ", 0x12345678\n"				\
		     ".2byte 0x6001 | " #n " << 7\n"			\
		     "mv t5, x" #n "\n"					\
		     "mv x" #n ", t6\n"					\
		     "mv %0, t5\n" : "=r" (_val) : : "t5", "t6");	\
	_val;								\
})

static void guest_zcmop(void)
{
	GUEST_ASSERT_EQ(C_MOP(1), 0x12345678);
	GUEST_ASSERT_EQ(C_MOP(3), 0x12345678);
	GUEST_ASSERT_EQ(C_MOP(5), 0x12345678);
	GUEST_ASSERT_EQ(C_MOP(7), 0x12345678);
	GUEST_ASSERT_EQ(C_MOP(9), 0x12345678);
	GUEST_ASSERT_EQ(C_MOP(11), 0x12345678);
	GUEST_ASSERT_EQ(C_MOP(13), 0x12345678);
	GUEST_ASSERT_EQ(C_MOP(15), 0x12345678);
}

/* MOP.R.n and MOP.RR.n write 0; here rd = rs1 = rs2 = a0 */
#define MOP_R(n)	INSN_A0(0x81c04073 | ((n) & 0x10) << 26 |	\
				((n) & 0xc) << 24 | ((n) & 3) << 20 |	\
				10 << 7 | 10 << 15, 5)
#define MOP_RR(n)	INSN_A0(0x82004073 | ((n) & 4) << 28 |		\
				((n) & 3) << 26 | 10 << 7 | 10 << 15 |	\
				10 << 20, 5)

static void guest_zimop(void)
{
	GUEST_ASSERT_EQ(MOP_R(0), 0);
	GUEST_ASSERT_EQ(MOP_R(3), 0);
	GUEST_ASSERT_EQ(MOP_R(12), 0);
	GUEST_ASSERT_EQ(MOP_R(16), 0);
	GUEST_ASSERT_EQ(MOP_R(31), 0);
	GUEST_ASSERT_EQ(MOP_RR(0), 0);
	GUEST_ASSERT_EQ(MOP_RR(3), 0);
	GUEST_ASSERT_EQ(MOP_RR(7), 0);
}

/* prefetch.i, .r and .w a0: never a trap, and a0 stays, wherever it points */
static void guest_zicbop(void)
{
	static const unsigned long addrs[] = {
		PAGE_VA, PAGE_VA + 1, UNMAPPED_VA, 0, -1UL, BIT(62),
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(addrs); i++) {
		GUEST_ASSERT_EQ(INSN_A0(0x00056013, addrs[i]), addrs[i]);
		GUEST_ASSERT_EQ(INSN_A0(0x00156013, addrs[i]), addrs[i]);
		GUEST_ASSERT_EQ(INSN_A0(0x00356013, addrs[i]), addrs[i]);
		/* with an offset of -32 and of 2016 */
		GUEST_ASSERT_EQ(INSN_A0(0xfe356013, addrs[i]), addrs[i]);
		GUEST_ASSERT_EQ(INSN_A0(0x7e056013, addrs[i]), addrs[i]);
	}
}

/* Compressed */

static void guest_zca(void)
{
	GUEST_ASSERT_EQ(C_INSN_A0(0x050d, 1), 4);		/* c.addi 3 */
}

static void guest_zcb(void)
{
	GUEST_ASSERT_EQ(C_INSN_A0(0x9d61, 0x1ff), 0xff);	/* c.zext.b */
	GUEST_ASSERT_EQ(C_INSN_A0(0x9d75, 0xff), ~0xffUL);	/* c.not */
}

static void guest_zcd(void)
{
	unsigned long from = 0x4045000000000000, to = 0;

	register unsigned long *a0 asm("a0") = &from;
	register unsigned long *a1 asm("a1") = &to;

	/* c.fld fa0, 0(a0); c.fsd fa0, 0(a1) */
	asm volatile(".2byte 0x2108\n.2byte 0xa188"
		     : : "r" (a0), "r" (a1) : "memory", "fa0");
	GUEST_ASSERT_EQ(to, from);
}

/* Atomics */

/* rs1 is the address, rs2 the value; funct5 is followed by aq and rl */
#define AMO(funct5, funct3, addr, val)	\
	INSN_R(0x2f, funct3, (funct5) << 2, addr, val)
#define AMOADD		0x00
#define AMOSWAP		0x01
#define AMOXOR		0x04
#define AMOCAS		0x05
#define AMOOR		0x08
#define AMOAND		0x0c
#define AMOMIN		0x10
#define AMOMAX		0x14
#define AMOMINU		0x18
#define AMOMAXU		0x1c

/*
 * Each AMO on one element of a word that is all ones elsewhere: the old value
 * comes back sign extended, the new one is stored, the neighbours stay.
 */
#define CHECK_AMO(op, funct3, bits, at, old, val, new) do {		\
	unsigned long _mem = -1UL, _mask = (BIT(bits) - 1) << (at);	\
	unsigned long _old = (unsigned long)(old) & (BIT(bits) - 1);	\
	unsigned long _new = (unsigned long)(new) & (BIT(bits) - 1);	\
									\
	_mem = (_mem & ~_mask) | _old << (at);				\
	GUEST_ASSERT_EQ(AMO(op, funct3, (char *)&_mem + (at) / 8, val),	\
			(long)(_old << (64 - (bits))) >> (64 - (bits)));\
	GUEST_ASSERT_EQ(_mem, (-1UL & ~_mask) | _new << (at));		\
} while (0)

#define CHECK_AMOS(funct3, bits, at) do {				\
	CHECK_AMO(AMOADD, funct3, bits, at, -2, 3, 1);			\
	CHECK_AMO(AMOADD, funct3, bits, at, BIT(bits - 1) - 1, 1,	\
		  BIT(bits - 1));					\
	CHECK_AMO(AMOSWAP, funct3, bits, at, BIT(bits - 1), 0x55, 0x55);\
	CHECK_AMO(AMOXOR, funct3, bits, at, 0x0f, 0x3c, 0x33);		\
	CHECK_AMO(AMOOR, funct3, bits, at, 0x0f, 0x30, 0x3f);		\
	CHECK_AMO(AMOAND, funct3, bits, at, 0x3c, 0x0f, 0x0c);		\
	CHECK_AMO(AMOMIN, funct3, bits, at, 1, -1, -1);			\
	CHECK_AMO(AMOMAX, funct3, bits, at, -1, 1, 1);			\
	CHECK_AMO(AMOMINU, funct3, bits, at, 1, -1, 1);			\
	CHECK_AMO(AMOMAXU, funct3, bits, at, 1, -1, -1);		\
} while (0)

static void guest_zaamo(void)
{
	unsigned long mem = BIT(63) - 1;

	CHECK_AMOS(2, 32, 0);
	CHECK_AMOS(2, 32, 32);
	GUEST_ASSERT_EQ(AMO(AMOADD, 3, &mem, 1), BIT(63) - 1);
	GUEST_ASSERT_EQ(mem, BIT(63));
	GUEST_ASSERT_EQ(AMO(AMOMAX, 3, &mem, 5), BIT(63));
	GUEST_ASSERT_EQ(mem, 5);
}

static void guest_zabha(void)
{
	CHECK_AMOS(0, 8, 0);
	CHECK_AMOS(0, 8, 24);
	CHECK_AMOS(0, 8, 56);
	CHECK_AMOS(1, 16, 0);
	CHECK_AMOS(1, 16, 16);
	CHECK_AMOS(1, 16, 48);
}

/* amocas: rd is what to compare with, and becomes what was there */
#define CAS(funct3, addr, cmp, val) ({					\
	unsigned long _rd = (unsigned long)(cmp);			\
	asm volatile(".insn r 0x2f, " #funct3 ", 0x14, %0, %1, %2"	\
		     : "+r" (_rd) : "r" (addr),				\
		       "r" ((unsigned long)(val)) : "memory");		\
	_rd;								\
})

/* amocas.q a0, a2, (a4): pairs of registers, cmp is what was there after */
static void cas_q(unsigned long *addr, unsigned long *cmp,
		  unsigned long new0, unsigned long new1)
{
	unsigned long old0, old1;

	asm volatile("ld a0, 0(%2)\n"
		     "ld a1, 8(%2)\n"
		     "mv a2, %3\n"
		     "mv a3, %4\n"
		     "mv a4, %5\n"
		     ".4byte 0x28c7452f\n"
		     "mv %0, a0\n"
		     "mv %1, a1\n"
		     : "=&r" (old0), "=&r" (old1)
		     : "r" (cmp), "r" (new0), "r" (new1), "r" (addr)
		     : "a0", "a1", "a2", "a3", "a4", "memory");
	cmp[0] = old0;
	cmp[1] = old1;
}

static void guest_zacas(void)
{
	unsigned long mem[2] __aligned(16) = { 0x80000000, 2 };
	unsigned long cmp[2] = { 7, 2 };

	GUEST_ASSERT_EQ(CAS(2, mem, 5, 6), 0xffffffff80000000);
	GUEST_ASSERT_EQ(mem[0], 0x80000000);
	GUEST_ASSERT_EQ(CAS(2, mem, 0x80000000, 7), 0xffffffff80000000);
	GUEST_ASSERT_EQ(mem[0], 7);
	GUEST_ASSERT_EQ(CAS(3, mem, 7, -1), 7);
	GUEST_ASSERT_EQ(mem[0], -1UL);

	/* first unequal, then equal */
	cas_q(mem, cmp, 8, 9);
	GUEST_ASSERT_EQ(cmp[0], -1UL);
	GUEST_ASSERT_EQ(cmp[1], 2);
	GUEST_ASSERT_EQ(mem[0], -1UL);
	cas_q(mem, cmp, 8, 9);
	GUEST_ASSERT_EQ(mem[0], 8);
	GUEST_ASSERT_EQ(mem[1], 9);
}

static void guest_zabha_zacas(void)
{
	unsigned long mem = 0x8877665544332211;

	GUEST_ASSERT_EQ(CAS(0, (char *)&mem + 7, 0x87, 1), -0x78UL);
	GUEST_ASSERT_EQ(mem, 0x8877665544332211);
	/* only the low byte of rd and rs2 counts */
	GUEST_ASSERT_EQ(CAS(0, (char *)&mem + 7, 0x188, 0x7ff), -0x78UL);
	GUEST_ASSERT_EQ(mem, 0xff77665544332211);
	GUEST_ASSERT_EQ(CAS(1, (char *)&mem + 2, 0x4433, 0xabcd), 0x4433);
	GUEST_ASSERT_EQ(mem, 0xff776655abcd2211);
}

static void guest_zalrsc(void)
{
	unsigned long mem = 5, old, fail;

	asm volatile("lr.d %0, (%2)\nsc.d %1, %3, (%2)"
		     : "=&r" (old), "=&r" (fail)
		     : "r" (&mem), "r" (6) : "memory");
	GUEST_ASSERT_EQ(old, 5);
	/* An SC without reservation, which the one before it used up */
	asm volatile("sc.d %0, %2, (%1)" : "=&r" (fail)
		     : "r" (&mem), "r" (7) : "memory");
	GUEST_ASSERT_NE(fail, 0);
	GUEST_ASSERT_NE(mem, 7);
}

/* Load-acquire and store-release of all sizes: AMO with funct5 6 and 7 */
static void guest_zalasr(void)
{
	unsigned long mem = 0x8877665544332281;

	GUEST_ASSERT_EQ(INSN_R(0x2f, 0, 0x1a, &mem, 0), -0x7fUL);
	GUEST_ASSERT_EQ(INSN_R(0x2f, 1, 0x1a, &mem, 0), 0x2281);
	GUEST_ASSERT_EQ(INSN_R(0x2f, 2, 0x1a, &mem, 0), 0x44332281);
	GUEST_ASSERT_EQ(INSN_R(0x2f, 3, 0x1a, &mem, 0), mem);
	asm volatile(".insn r 0x2f, 0, 0x1d, x0, %0, %1"
		     : : "r" (&mem), "r" (0x1ffUL) : "memory");
	GUEST_ASSERT_EQ(mem, 0x88776655443322ff);
	asm volatile(".insn r 0x2f, 3, 0x1d, x0, %0, %1"
		     : : "r" (&mem), "r" (5UL) : "memory");
	GUEST_ASSERT_EQ(mem, 5);
}

/* Scalar floating point */

#define FMV_W_X		0xf0050553	/* fmv.w.x fa0, a0 */
#define FMV_X_W		0xe0050553	/* fmv.x.w a0, fa0 */
#define FMV_H_X		0xf4050553	/* fmv.h.x fa0, a0 */
#define FMV_X_H		0xe4050553	/* fmv.x.h a0, fa0: sign extends */

/* Convert in fa0: bring @val there with one move, fetch it with another */
#define FP_CONVERT(to, insn, from, val) ({				\
	register unsigned long _a0 asm("a0") = (val);			\
	asm volatile(".4byte " __stringify(to) "\n.4byte " #insn	\
		     "\n.4byte " __stringify(from)			\
		     : "+r" (_a0) : : "fa0");				\
	_a0;								\
})

static void guest_f(void)
{
	/* fadd.s fa0, fa0, fa0 */
	GUEST_ASSERT_EQ(FP_CONVERT(FMV_W_X, 0x00a50553, FMV_X_W, 0x3fc00000),
			0x40400000);
}

static void guest_d(void)
{
	/* fmv.d.x, fadd.d fa0, fa0, fa0, fmv.x.d */
	GUEST_ASSERT_EQ(FP_CONVERT(0xf2050553, 0x02a50553, 0xe2050553,
				   0x3ff8000000000000), 0x4008000000000000);
}

static void guest_zfhmin(void)
{
	/* fcvt.h.s, fcvt.s.h */
	GUEST_ASSERT_EQ(FP_CONVERT(FMV_W_X, 0x44050553, FMV_X_H, 0x3f800000),
			0x3c00);
	GUEST_ASSERT_EQ(FP_CONVERT(FMV_H_X, 0x40250553, FMV_X_W, 0x3c00),
			0x3f800000);
}

static void guest_zfh(void)
{
	/* fadd.h fa0, fa0, fa0 */
	GUEST_ASSERT_EQ(FP_CONVERT(FMV_H_X, 0x04a50553, FMV_X_H, 0x3c00),
			0x4000);
}

static void guest_zfa(void)
{
	/* fli.s fa0, entries 16 and 0 of its table: 1.0 and -1.0 */
	GUEST_ASSERT_EQ(FP_CONVERT(FMV_W_X, 0xf0180553, FMV_X_W, 0),
			0x3f800000);
	GUEST_ASSERT_EQ((unsigned int)FP_CONVERT(FMV_W_X, 0xf0100553, FMV_X_W, 0),
			0xbf800000);
}

/* fcvt.bf16.s and fcvt.s.bf16, rounding to nearest even */
#define TO_BF16(val)	FP_CONVERT(FMV_W_X, 0x44850553, FMV_X_H, val)
#define FROM_BF16(val)	FP_CONVERT(FMV_H_X, 0x40650553, FMV_X_W, val)

static void guest_zfbfmin(void)
{
	GUEST_ASSERT_EQ(TO_BF16(0x3f800000), 0x3f80);
	GUEST_ASSERT_EQ(TO_BF16(0xbf800000), (short)0xbf80);
	/* ties go to even, in both directions; anything more goes up */
	GUEST_ASSERT_EQ(TO_BF16(0x3f808000), 0x3f80);
	GUEST_ASSERT_EQ(TO_BF16(0x3f818000), 0x3f82);
	GUEST_ASSERT_EQ(TO_BF16(0x3f808001), 0x3f81);
	/* overflow, infinity, not a number, smallest single subnormal */
	GUEST_ASSERT_EQ(TO_BF16(0x7f7fffff), 0x7f80);
	GUEST_ASSERT_EQ(TO_BF16(0x7f800000), 0x7f80);
	GUEST_ASSERT_EQ(TO_BF16(0x7f800001), 0x7fc0);
	GUEST_ASSERT_EQ(TO_BF16(0x00000001), 0);
	GUEST_ASSERT_EQ(FROM_BF16(0x3f80), 0x3f800000);
	GUEST_ASSERT_EQ(FROM_BF16(0x0001), 0x00010000);
	GUEST_ASSERT_EQ(FROM_BF16(0x7f81), 0x7fc00000);
}

/* Vector, with four elements: v8 and v10 from memory, result in v12 */

static unsigned int vec_in[2][4] __aligned(16);
static unsigned int vec_out[4] __aligned(16);

#define VECTOR(vtype, insn) ({						\
	asm volatile(".option push\n.option arch, +v\n"			\
		     "vsetivli zero, 4, e32, m1, ta, ma\n"		\
		     "vle32.v v8, (%0)\n"				\
		     "vle32.v v10, (%1)\n"				\
		     "vmv.v.i v12, 0\n"					\
		     "vsetivli zero, 4, " vtype ", ta, ma\n"		\
		     ".4byte " #insn "\n"				\
		     "vsetivli zero, 4, e32, m1, ta, ma\n"		\
		     "vse32.v v12, (%2)\n"				\
		     ".option pop"					\
		     : : "r" (vec_in[0]), "r" (vec_in[1]), "r" (vec_out)\
		     : "memory");					\
})

static void set_vec(unsigned int *vec, unsigned int a, unsigned int b,
		    unsigned int c, unsigned int d)
{
	vec[0] = a;
	vec[1] = b;
	vec[2] = c;
	vec[3] = d;
}

#define CHECK_VEC(a, b, c, d) do {					\
	GUEST_ASSERT_EQ(vec_out[0], a);					\
	GUEST_ASSERT_EQ(vec_out[1], b);					\
	GUEST_ASSERT_EQ(vec_out[2], c);					\
	GUEST_ASSERT_EQ(vec_out[3], d);					\
} while (0)

static void guest_v(void)
{
	set_vec(vec_in[0], 1, 2, 3, -1);
	set_vec(vec_in[1], 10, 20, 30, 2);
	VECTOR("e32, m1", 0x02850657);		/* vadd.vv v12, v8, v10 */
	CHECK_VEC(11, 22, 33, 1);
}

static void guest_zvkb(void)
{
	set_vec(vec_in[0], 0xff, 0xf0, 0, -1);
	set_vec(vec_in[1], 0x0f, 0xff, 1, 1);
	VECTOR("e32, m1", 0x06850657);		/* vandn.vv v12, v8, v10 */
	CHECK_VEC(0xf0, 0, 0, -2);
}

static void guest_zvbb(void)
{
	set_vec(vec_in[0], 0, 1, 0xffff, -1);
	VECTOR("e32, m1", 0x4a862657);		/* vclz.v v12, v8 */
	CHECK_VEC(32, 31, 16, 0);
}

static void guest_zvfbfmin(void)
{
	/* vfncvtbf16.f.f.w v12, v8 */
	set_vec(vec_in[0], 0x3f800000, 0x3f808000, 0x3f818000, 0x7f800001);
	VECTOR("e16, mf2", 0x4a8e9657);
	CHECK_VEC(0x3f803f80, 0x7fc03f82, 0, 0);
	/* vfwcvtbf16.f.f.v v12, v8 */
	set_vec(vec_in[0], 0xbf803f80, 0x7f810001, 0, 0);
	VECTOR("e16, mf2", 0x4a869657);
	CHECK_VEC(0x3f800000, 0xbf800000, 0x00010000, 0x7fc00000);
}

static void guest_zvfbfwma(void)
{
	/* vfwmaccbf16.vv v12, v8, v10: 0 + 1.5 * 2, -1 * 1, 0 * 1, inf * 1 */
	set_vec(vec_in[0], 0xbf803fc0, 0x7f800000, 0, 0);
	set_vec(vec_in[1], 0x3f804000, 0x3f803f80, 0, 0);
	VECTOR("e16, mf2", 0xeea41657);
	CHECK_VEC(0x40400000, 0xbf800000, 0, 0x7f800000);
}

/* Cache blocks */

static void guest_zicbom(void)
{
	store(PAGE_VA, 0x1234);
	INSN_A0(0x0015200f, PAGE_VA);				/* cbo.clean */
	GUEST_ASSERT_EQ(load(PAGE_VA), 0x1234);
	INSN_A0(0x0025200f, PAGE_VA);				/* cbo.flush */
	GUEST_ASSERT_EQ(load(PAGE_VA), 0x1234);
}

static void guest_zicboz(void)
{
	unsigned long i, size = cboz_size, base = PAGE_VA + size;

	memset((void *)PAGE_VA, 0xff, 3 * size);
	INSN_A0(0x0045200f, base + size / 2);			/* cbo.zero */
	for (i = 0; i < 3 * size; i += 8)
		GUEST_ASSERT_EQ(load(PAGE_VA + i),
				i >= size && i < 2 * size ? 0 : -1UL);
}

/* CSRs and fences */

static void guest_zicntr(void)
{
	unsigned long first = csr_read(CSR_TIME), i;

	for (i = 0; i < 100000000 && csr_read(CSR_TIME) == first; i++)
		;
	GUEST_ASSERT(csr_read(CSR_TIME) > first);
}

static void guest_zicsr(void)
{
	unsigned long old = csr_read(CSR_SSCRATCH);

	GUEST_ASSERT_EQ(csr_swap(CSR_SSCRATCH, 0xf0), old);
	GUEST_ASSERT_EQ(csr_read_set(CSR_SSCRATCH, 0x0f), 0xf0);
	GUEST_ASSERT_EQ(csr_read_clear(CSR_SSCRATCH, 0xf0), 0xff);
	GUEST_ASSERT_EQ(csr_swap(CSR_SSCRATCH, old), 0x0f);
}

static void guest_zifencei(void)
{
	unsigned int *code = (unsigned int *)PAGE_VA;
	unsigned long (*fn)(void) = (void *)PAGE_VA;
	unsigned long i;

	code[1] = 0x00008067;					/* ret */
	for (i = 0; i < 100; i++) {
		code[0] = 0x00000513 | i << 20;			/* li a0, i */
		asm volatile("fence.i" : : : "memory");
		GUEST_ASSERT_EQ(fn(), i);
	}
}

static void guest_sstc(void)
{
	csr_write(0x14d, -1UL);					/* stimecmp */
	GUEST_ASSERT_EQ(csr_read(0x14d), -1UL);
	GUEST_ASSERT(!(csr_read(CSR_SIP) & IE_TIE));
	csr_write(0x14d, 0);
	GUEST_ASSERT(csr_read(CSR_SIP) & IE_TIE);
	csr_write(0x14d, -1UL);
}

static void guest_ssaia(void)
{
	csr_write(CSR_SISELECT, 0x30);				/* iprio0 */
	GUEST_ASSERT_EQ(csr_read(CSR_SISELECT), 0x30);
	GUEST_ASSERT_EQ(csr_read(CSR_STOPI), 0);
}

static void guest_smstateen(void)
{
	csr_write(CSR_SSTATEEN0, 0);
	GUEST_ASSERT_EQ(csr_read(CSR_SSTATEEN0), 0);
}

static void guest_sscofpmf(void)
{
	(void)csr_read(0xda0);					/* scountovf */
}

static void guest_svinval(void)
{
	INSN(0x18000073);					/* sfence.w.inval */
	INSN(0x16000073);					/* sinval.vma */
	INSN(0x18100073);					/* sfence.inval.ir */
}

/* Address translation */

/*
 * A load from a page that was invalid a moment ago, without a fence.  With
 * Svvptc the new entry is seen within a bounded time; the specification gives
 * no number, and operating systems count on a few retries.
 */
static void guest_svvptc(void)
{
	unsigned long round, page, pte, end;

	for (round = 0; round < 200; round++) {
		page = round % NR_PAGES;
		store(PAGE_VA + page * 4096, round);
		pte = *pte_of(page);
		*pte_of(page) = 0;
		sfence_vma();
		GUEST_ASSERT_EQ(TRAP_OF(load(PAGE_VA + page * 4096)),
				EXC_LOAD_PAGE_FAULT);

		WRITE_ONCE(*pte_of(page), pte);
		end = csr_read(CSR_TIME) + timebase;
		while (TRAP_OF(load(PAGE_VA + page * 4096)) != NO_TRAP)
			GUEST_ASSERT(csr_read(CSR_TIME) < end);
		GUEST_ASSERT_EQ(load(PAGE_VA + page * 4096), round);
	}
}

static void clear_ad(unsigned long bits)
{
	*pte_of(0) &= ~bits;
	sfence_vma();
}

/* A and D clear: the hart raises a page fault and leaves the entry alone */
static void guest_svade(void)
{
	unsigned long pte;

	clear_ad(PGTBL_PTE_ACCESSED_MASK);
	pte = *pte_of(0);
	GUEST_ASSERT_EQ(TRAP_OF(load(PAGE_VA)), EXC_LOAD_PAGE_FAULT);
	GUEST_ASSERT_EQ(TRAP_OF(store(PAGE_VA, 1)), EXC_STORE_PAGE_FAULT);
	*pte_of(0) |= PGTBL_PTE_ACCESSED_MASK;
	clear_ad(PGTBL_PTE_DIRTY_MASK);
	GUEST_ASSERT_EQ(TRAP_OF(load(PAGE_VA)), NO_TRAP);
	GUEST_ASSERT_EQ(TRAP_OF(store(PAGE_VA, 1)), EXC_STORE_PAGE_FAULT);
	GUEST_ASSERT_EQ(*pte_of(0) | PGTBL_PTE_DIRTY_MASK,
			pte | PGTBL_PTE_ACCESSED_MASK | PGTBL_PTE_DIRTY_MASK);
	GUEST_ASSERT(!(*pte_of(0) & PGTBL_PTE_DIRTY_MASK));
}

/* A and D clear: the hart sets them */
static void guest_svadu(void)
{
	clear_ad(PGTBL_PTE_ACCESSED_MASK | PGTBL_PTE_DIRTY_MASK);
	GUEST_ASSERT_EQ(TRAP_OF(load(PAGE_VA)), NO_TRAP);
	GUEST_ASSERT(*pte_of(0) & PGTBL_PTE_ACCESSED_MASK);
	GUEST_ASSERT_EQ(TRAP_OF(store(PAGE_VA, 1)), NO_TRAP);
	GUEST_ASSERT(*pte_of(0) & PGTBL_PTE_DIRTY_MASK);
}

#define PTE_NC		BIT(61)		/* Svpbmt: non-cacheable main memory */

static void set_pbmt(void)
{
	store(PAGE_VA, 0x5a);
	*pte_of(0) |= PTE_NC;
	sfence_vma();
}

static void guest_svpbmt(void)
{
	set_pbmt();
	GUEST_ASSERT_EQ(TRAP_OF(store(PAGE_VA + 8, 0xa5)), NO_TRAP);
	GUEST_ASSERT_EQ(load(PAGE_VA + 8), 0xa5);
}

/* Without it the bits are reserved, and must be 0 in a valid entry */
static void guest_no_svpbmt(void)
{
	set_pbmt();
	GUEST_ASSERT_EQ(TRAP_OF(load(PAGE_VA)), EXC_LOAD_PAGE_FAULT);
}

/* Without the others their instructions and CSRs are illegal */

static void guest_no_f(void)
{
	GUEST_ASSERT_EQ(TRAP_OF(INSN(0x00a57553)), ILLEGAL);	/* fadd.s */
	GUEST_ASSERT_EQ(TRAP_OF(INSN(0x02a57553)), ILLEGAL);	/* fadd.d */
	GUEST_ASSERT_EQ(TRAP_OF(csr_read(0x003)), ILLEGAL);	/* fcsr */
}

static void guest_no_v(void)
{
	/* vsetivli zero, 4, e32, m1, ta, ma; vadd.vv; csrr vlenb */
	GUEST_ASSERT_EQ(TRAP_OF(INSN(0xcd027057)), ILLEGAL);
	GUEST_ASSERT_EQ(TRAP_OF(INSN(0x02850657)), ILLEGAL);
	GUEST_ASSERT_EQ(TRAP_OF(csr_read(CSR_VLENB)), ILLEGAL);
}

static void guest_no_zicbom(void)
{
	GUEST_ASSERT_EQ(TRAP_OF(INSN_A0(0x0005200f, PAGE_VA)), ILLEGAL);
	GUEST_ASSERT_EQ(TRAP_OF(INSN_A0(0x0015200f, PAGE_VA)), ILLEGAL);
	GUEST_ASSERT_EQ(TRAP_OF(INSN_A0(0x0025200f, PAGE_VA)), ILLEGAL);
}

static void guest_no_zicboz(void)
{
	store(PAGE_VA, 1);
	GUEST_ASSERT_EQ(TRAP_OF(INSN_A0(0x0045200f, PAGE_VA)), ILLEGAL);
	GUEST_ASSERT_EQ(load(PAGE_VA), 1);
}

static void guest_no_ssaia(void)
{
	GUEST_ASSERT_EQ(TRAP_OF(csr_read(CSR_SISELECT)), ILLEGAL);
	GUEST_ASSERT_EQ(TRAP_OF(csr_read(CSR_STOPI)), ILLEGAL);
}

static void guest_no_smstateen(void)
{
	GUEST_ASSERT_EQ(TRAP_OF(csr_read(CSR_SSTATEEN0)), ILLEGAL);
}

/* One row per snippet: it needs all of the extensions */
#define E(ext)		(KVM_RISCV_ISA_EXT_##ext + 1)
struct row {
	const char *name;
	void (*fn)(void);
	unsigned int needs[2];		/* E(), or 0 */
};

static const struct row with[] = {
	{ "M", guest_m, { E(M) } },
	{ "Zba", guest_zba, { E(ZBA) } },
	{ "Zbb", guest_zbb, { E(ZBB) } },
	{ "Zbc", guest_zbc, { E(ZBC) } },
	{ "Zbs", guest_zbs, { E(ZBS) } },
	{ "Zbkb", guest_zbkb, { E(ZBKB) } },
	{ "Zbkc", guest_zbkc, { E(ZBKC) } },
	{ "Zbkx", guest_zbkx, { E(ZBKX) } },
	{ "Zicond", guest_zicond, { E(ZICOND) } },
	{ "Zknh", guest_zknh, { E(ZKNH) } },
	{ "Zksh", guest_zksh, { E(ZKSH) } },
	{ "Zihintpause and Zihintntl", guest_hints,
	  { E(ZIHINTPAUSE), E(ZIHINTNTL) } },
	{ "Zawrs", guest_zawrs, { E(ZAWRS) } },
	{ "Zcmop", guest_zcmop, { E(ZCMOP) } },
	{ "Zimop", guest_zimop, { E(ZIMOP) } },
	{ "Zicbop", guest_zicbop, { E(ZICBOP) } },
	{ "Zca", guest_zca, { E(ZCA) } },
	{ "Zcb", guest_zcb, { E(ZCB) } },
	{ "Zcd", guest_zcd, { E(ZCD) } },
	{ "Zaamo", guest_zaamo, { E(ZAAMO) } },
	{ "Zabha", guest_zabha, { E(ZABHA) } },
	{ "Zacas", guest_zacas, { E(ZACAS) } },
	{ "Zabha with Zacas", guest_zabha_zacas, { E(ZABHA), E(ZACAS) } },
	{ "Zalrsc", guest_zalrsc, { E(ZALRSC) } },
	{ "Zalasr", guest_zalasr, { E(ZALASR) } },
	{ "F", guest_f, { E(F) } },
	{ "D", guest_d, { E(D) } },
	{ "Zfhmin", guest_zfhmin, { E(ZFHMIN) } },
	{ "Zfh", guest_zfh, { E(ZFH) } },
	{ "Zfa", guest_zfa, { E(ZFA) } },
	{ "Zfbfmin", guest_zfbfmin, { E(ZFBFMIN) } },
	{ "V", guest_v, { E(V) } },
	{ "Zvkb", guest_zvkb, { E(ZVKB), E(V) } },
	{ "Zvbb", guest_zvbb, { E(ZVBB), E(V) } },
	{ "Zvfbfmin", guest_zvfbfmin, { E(ZVFBFMIN), E(V) } },
	{ "Zvfbfwma", guest_zvfbfwma, { E(ZVFBFWMA), E(V) } },
	{ "Zicbom", guest_zicbom, { E(ZICBOM) } },
	{ "Zicboz", guest_zicboz, { E(ZICBOZ) } },
	{ "Zicntr", guest_zicntr, { E(ZICNTR) } },
	{ "Zicsr", guest_zicsr, { E(ZICSR) } },
	{ "Zifencei", guest_zifencei, { E(ZIFENCEI) } },
	{ "Sstc", guest_sstc, { E(SSTC) } },
	{ "Ssaia", guest_ssaia, { E(SSAIA) } },
	{ "Smstateen", guest_smstateen, { E(SMSTATEEN) } },
	{ "Sscofpmf", guest_sscofpmf, { E(SSCOFPMF) } },
	{ "Svinval", guest_svinval, { E(SVINVAL) } },
	{ "Svvptc", guest_svvptc, { E(SVVPTC) } },
	{ "Svade", guest_svade, { E(SVADE) } },
	{ "Svadu", guest_svadu, { E(SVADU) } },
	{ "Svpbmt", guest_svpbmt, { E(SVPBMT) } },
};

/* The same on a vCPU from which the extensions have been taken */
static const struct row without[] = {
	{ "F and D", guest_no_f, { E(D), E(F) } },
	{ "V", guest_no_v, { E(V) } },
	{ "Zicbom", guest_no_zicbom, { E(ZICBOM) } },
	{ "Zicboz", guest_no_zicboz, { E(ZICBOZ) } },
	{ "Ssaia", guest_no_ssaia, { E(SSAIA) } },
	{ "Smstateen", guest_no_smstateen, { E(SMSTATEEN) } },
	{ "Svadu", guest_svade, { E(SVADU) } },
	{ "Svpbmt", guest_no_svpbmt, { E(SVPBMT) } },
};

static void guest_main(void (*fn)(void))
{
	sfence_vma();
	csr_set(CSR_SSTATUS, SR_FS | SR_VS);
	WRITE_ONCE(trap_cause, NO_TRAP);
	fn();
	GUEST_ASSERT_EQ(READ_ONCE(trap_cause), NO_TRAP);
	GUEST_DONE();
}

static bool has_all(struct kvm_vcpu *vcpu, const struct row *row)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(row->needs) && row->needs[i]; i++)
		if (!__vcpu_has_isa_ext(vcpu, row->needs[i] - 1))
			return false;
	return true;
}

/* A VM with one vCPU, and what to put back before each run */
struct guest {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	unsigned long sp;
	uint64_t *ptes;
	uint64_t initial[NR_PAGES];
};

static void map_pages(struct guest *guest)
{
	struct kvm_vm *vm = guest->vm;
	unsigned long gpa, table = vm->pgd;
	uint64_t *pte;
	int level;

	gpa = vm_phy_pages_alloc(vm, NR_PAGES, 0x100000, 0);
	virt_map(vm, PAGE_VA, gpa, NR_PAGES);
	for (level = vm->pgtable_levels - 1; level; level--) {
		pte = addr_gpa2hva(vm, table);
		pte += (PAGE_VA >> (12 + 9 * level)) & 0x1ff;
		table = (*pte >> PGTBL_PTE_ADDR_SHIFT) << 12;
	}
	virt_map(vm, TABLE_VA, table, 1);
	first_pte = (PAGE_VA >> 12) & 0x1ff;
	sync_global_to_guest(vm, first_pte);
	guest->ptes = (uint64_t *)addr_gpa2hva(vm, table) + first_pte;
	memcpy(guest->initial, guest->ptes, sizeof(guest->initial));
}

static void guest_create(struct guest *guest)
{
	static const unsigned int traps[] = {
		EXC_INST_ILLEGAL, EXC_VIRTUAL_INST_FAULT, EXC_LOAD_ACCESS,
		EXC_STORE_ACCESS, EXC_LOAD_MISALIGNED, EXC_STORE_MISALIGNED,
		EXC_LOAD_PAGE_FAULT, EXC_STORE_PAGE_FAULT,
	};
	struct kvm_vcpu *vcpu;
	unsigned int i;

	guest->vm = vm_create_with_one_vcpu(&guest->vcpu, guest_main);
	vcpu = guest->vcpu;
	vm_init_vector_tables(guest->vm);
	vcpu_init_vector_tables(vcpu);
	for (i = 0; i < ARRAY_SIZE(traps); i++)
		vm_install_exception_handler(guest->vm, traps[i], on_trap);
	map_pages(guest);

	vcpu_get_reg(vcpu, RISCV_CORE_REG(regs.sp), &guest->sp);
	vcpu_get_reg(vcpu, RISCV_TIMER_REG(frequency), &timebase);
	sync_global_to_guest(guest->vm, timebase);
	if (__vcpu_has_isa_ext(vcpu, KVM_RISCV_ISA_EXT_ZICBOZ)) {
		vcpu_get_reg(vcpu, RISCV_CONFIG_REG(zicboz_block_size),
			     &cboz_size);
		sync_global_to_guest(guest->vm, cboz_size);
	}
}

static bool run(struct guest *guest, void (*fn)(void))
{
	struct kvm_vcpu *vcpu = guest->vcpu;
	struct ucall uc;

	memcpy(guest->ptes, guest->initial, sizeof(guest->initial));
	vcpu_arch_set_entry_point(vcpu, guest_main);
	vcpu_set_reg(vcpu, RISCV_CORE_REG(regs.sp), guest->sp);
	vcpu_args_set(vcpu, 1, (unsigned long)fn);
	vcpu_run(vcpu);
	switch (get_ucall(vcpu, &uc)) {
	case UCALL_DONE:
		return true;
	case UCALL_ABORT:
		ksft_print_msg("%s\n", uc.buffer);
		return false;
	case UCALL_UNHANDLED:
		ksft_print_msg("unexpected exception %lu\n", uc.args[1]);
		return false;
	default:
		ksft_print_msg("unexpected exit %u (%s)\n",
			       vcpu->run->exit_reason,
			       exit_reason_str(vcpu->run->exit_reason));
		return false;
	}
}

static void test_with(struct guest *guest, const struct row *row)
{
	if (has_all(guest->vcpu, row))
		ksft_test_result(run(guest, row->fn), "%s works\n", row->name);
	else
		ksft_test_result_skip("%s works: the host does not have it\n",
				      row->name);
}

static void test_without(struct guest *model, const struct row *row)
{
	struct guest guest;
	unsigned int i;

	if (!has_all(model->vcpu, row)) {
		ksft_test_result_skip("a vCPU without %s traps: the host does not have it\n",
				      row->name);
		return;
	}
	guest_create(&guest);
	for (i = 0; i < ARRAY_SIZE(row->needs) && row->needs[i]; i++)
		if (__vcpu_set_reg(guest.vcpu,
				   RISCV_ISA_EXT_REG(row->needs[i] - 1), 0))
			break;
	if (i < ARRAY_SIZE(row->needs) && row->needs[i])
		ksft_test_result_skip("a vCPU without %s traps: the host cannot hide it\n",
				      row->name);
	else
		ksft_test_result(run(&guest, row->fn),
				 "a vCPU without %s traps\n", row->name);
	kvm_vm_free(guest.vm);
}

/*
 * Ziccrse: LR/SC loops on main memory, from several vCPUs on one word, make
 * progress, all of them.  The loop is as constrained as the specification of
 * the guarantee demands.
 */
static unsigned long lrsc_word;

static void guest_lrsc(void)
{
	unsigned long i, tmp;

	for (i = 0; i < LRSC_LOOPS; i++)
		asm volatile("1:	lr.d	%0, (%1)\n"
			     "	addi	%0, %0, 1\n"
			     "	sc.d	%0, %0, (%1)\n"
			     "	bnez	%0, 1b\n"
			     : "=&r" (tmp) : "r" (&lrsc_word) : "memory");
	GUEST_DONE();
}

static void *lrsc_thread(void *vcpu)
{
	struct ucall uc;

	vcpu_run(vcpu);

	return get_ucall(vcpu, &uc) == UCALL_DONE ? vcpu : NULL;
}

static void test_lrsc(void)
{
	const char *name = "Ziccrse: LR/SC loops of all vCPUs finish";
	struct kvm_vcpu *vcpus[LRSC_VCPUS];
	pthread_t threads[LRSC_VCPUS];
	unsigned int i, done = 0;
	struct kvm_vm *vm;
	void *ret;

	vm = vm_create_with_vcpus(LRSC_VCPUS, guest_lrsc, vcpus);
	if (!__vcpu_has_isa_ext(vcpus[0], KVM_RISCV_ISA_EXT_ZICCRSE)) {
		ksft_test_result_skip("%s: the host does not have it\n", name);
		goto out;
	}
	for (i = 0; i < LRSC_VCPUS; i++)
		pthread_create(&threads[i], NULL, lrsc_thread, vcpus[i]);
	for (i = 0; i < LRSC_VCPUS; i++) {
		pthread_join(threads[i], &ret);
		done += !!ret;
	}
	sync_global_from_guest(vm, lrsc_word);
	ksft_print_msg("%u vCPUs done, sum %lu\n", done, lrsc_word);
	ksft_test_result(done == LRSC_VCPUS &&
			 lrsc_word == LRSC_VCPUS * LRSC_LOOPS, "%s\n", name);
out:
	kvm_vm_free(vm);
}

/*
 * senvcfg is one register for host and guests.  A vCPU finds what it has
 * written, and not what another vCPU has.
 */
#define SENVCFG		0x10a
#define SENVCFG_CBZE	BIT(7)

static void guest_senvcfg_set(void)
{
	GUEST_ASSERT_EQ(csr_read_set(SENVCFG, SENVCFG_CBZE), 0);
	GUEST_ASSERT_EQ(csr_read(SENVCFG), SENVCFG_CBZE);
}

static void guest_senvcfg_kept(void)
{
	GUEST_ASSERT_EQ(csr_read(SENVCFG), SENVCFG_CBZE);
}

static void test_senvcfg(struct guest *guest)
{
	const char *name = "senvcfg belongs to its vCPU";
	unsigned long val = 0;
	struct guest other;
	bool ok;

	if (!__vcpu_has_isa_ext(guest->vcpu, KVM_RISCV_ISA_EXT_ZICBOZ)) {
		ksft_test_result_skip("%s: the host has no Zicboz\n", name);
		return;
	}
	guest_create(&other);
	ok = run(guest, guest_senvcfg_set);
	ok &= run(&other, guest_senvcfg_set);
	ok &= run(guest, guest_senvcfg_kept);
	vcpu_get_reg(guest->vcpu, RISCV_GENERAL_CSR_REG(senvcfg), &val);
	ok &= val == SENVCFG_CBZE;
	ksft_test_result(ok, "%s\n", name);
	kvm_vm_free(other.vm);
}

int main(void)
{
	struct guest guest;
	unsigned int i;

	ksft_print_header();
	ksft_set_plan(ARRAY_SIZE(with) + ARRAY_SIZE(without) + 2);
	guest_create(&guest);
	for (i = 0; i < ARRAY_SIZE(with); i++)
		test_with(&guest, &with[i]);
	for (i = 0; i < ARRAY_SIZE(without); i++)
		test_without(&guest, &without[i]);
	test_senvcfg(&guest);
	kvm_vm_free(guest.vm);
	test_lrsc();
	ksft_finished();
}
