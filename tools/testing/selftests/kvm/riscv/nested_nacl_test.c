// SPDX-License-Identifier: GPL-2.0-only
/*
 * SBI nested acceleration (SBI 3.0, chapter 15) as KVM provides it.
 *
 * L1 checks every function for each of the 16 sets of features that userspace
 * can offer, and runs the same L2 with whatever it has. What it sees of L2 must
 * not depend on that. Then the shared memory changes under its feet.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "kvm_util.h"
#include "kselftest.h"
#include "processor.h"
#include "nested.h"
#include "nested_nacl.h"
#include "sbi.h"
#include "ucall_common.h"

/* Memory that cannot be written, and another place for the shared memory */
#define RO_GPA			0x310000000UL
#define RO_SLOT			4
#define OTHER_GPA		(NESTED_TEST_GPA + 0x100000)
#define OTHER_MEM		((u64 *)(NESTED_L2_ADDR + 0x100000))

#define CAUSE_INST_GUEST_PAGE	20
#define CAUSE_ECALL_VS		10

#define CSR_NONE		0x2ff
#define L2_UNMAPPED		(NESTED_L2_ADDR + 0x12345000UL)
#define L2_PAGE			NESTED_L2_ADDR

/* Exits of L2 that are the same whatever L1 has */
#define NR_EXITS		9

struct trace {
	u64 scause, stval, htval, htinst, hstatus, sepc, a0;
};

/* Filled in by L1 */
static struct trace traces[NR_EXITS];
static unsigned int nr_traces;
static u64 errors_seen;

static struct nested_ctx ctx;
static struct nacl nacl;

/* Calls of L1 to L0 are barriers for the compiler */
static u64 *const shmem = (void *)SHMEM_GPA;

static bool has(int feature)
{
	return nacl.features & BIT(feature);
}

/* --- What L2 does ----------------------------------------------------------- */

/* Each kind of exception that ends L2, of four bytes each; then what is at an address */
static void l2_code(void)
{
	u64 val;

	nested_l2_call(1);
	asm volatile(".option push\n.option norvc\nld %0, 0(%1)\n.option pop"
		     : "=r" (val) : "r" (L2_UNMAPPED));
	asm volatile(".option push\n.option norvc\nsd x0, 0(%0)\n.option pop"
		     :: "r" (L2_UNMAPPED));
	/* hstatus is none of its business */
	asm volatile("csrr %0, 0x600" : "=r" (val));
	asm volatile(".option push\n.option norvc\nebreak\n.option pop");
	asm volatile(".option push\n.option norvc\n.word 0\n.option pop");
	csr_write(CSR_SSCRATCH, 0x5c5c5c5c);
	nested_l2_call(2);
	asm volatile("jalr ra, 0(%0)" :: "r" (L2_UNMAPPED) : "ra");
	for (;;)
		nested_l2_call(READ_ONCE(*(u64 *)L2_PAGE));
}

/* All registers come from L1 and go back to it; a break, should it not be in L2 */
asm(".option push\n"
	".option norvc\n"
	".balign 4\n"
	"l2_only_call:\n"
	"ecall\n"
	"ebreak\n"
	"j l2_only_call\n"
	".option pop\n");

extern char l2_only_call[];

/*
 * SYNC_SRET that stays in HS-mode of L1. Every register that matters comes from
 * shared memory at a0; so does the result.
 */
asm(".option push\n"
	".option norelax\n"
	"sync_sret_v0:\n"
	"sd ra, 1 * 8(a0)\n"
	"sd sp, 2 * 8(a0)\n"
	"sd gp, 3 * 8(a0)\n"
	"sd tp, 4 * 8(a0)\n"
	"sd s0, 8 * 8(a0)\n"
	"sd s1, 9 * 8(a0)\n"
	"sd s2, 18 * 8(a0)\n"
	"sd s3, 19 * 8(a0)\n"
	"sd s4, 20 * 8(a0)\n"
	"sd s5, 21 * 8(a0)\n"
	"sd s6, 22 * 8(a0)\n"
	"sd s7, 23 * 8(a0)\n"
	"sd s8, 24 * 8(a0)\n"
	"sd s9, 25 * 8(a0)\n"
	"sd s10, 26 * 8(a0)\n"
	"sd s11, 27 * 8(a0)\n"
	"li t0, 0x5a5a\n"
	"sd t0, 10 * 8(a0)\n"
	"la t0, 1f\n"
	"csrw sepc, t0\n"
	"li t0, 0x100\n"
	"csrs sstatus, t0\n"
	"li t0, 0x20\n"
	"csrc sstatus, t0\n"
	"li a7, 0x4e41434c\n"
	"li a6, 4\n"
	"ecall\n"
	"1: ret\n"
	".option pop\n");

long sync_sret_v0(u64 *mem);

/* --- CSRs -------------------------------------------------------------------- */

/* Those that every vCPU with the H extension has, and that can be set to anything */
#define FOR_EACH_CSR(__op)						\
do {									\
	__op(0x200); __op(0x205); __op(0x240); __op(0x241); __op(0x242);\
	__op(0x243); __op(0x280); __op(0x600); __op(0x602); __op(0x603);\
	__op(0x604); __op(0x605); __op(0x606); __op(0x607); __op(0x60a);\
	__op(0x643); __op(0x645); __op(0x64a); __op(0x680);		\
} while (0)

/* Windows on others */
#define FOR_EACH_WINDOW(__op)						\
do {									\
	__op(0x204); __op(0x244); __op(0x644);				\
} while (0)

#define check_word(__csr)						\
do {									\
	u64 __v = csr_read(__csr);					\
									\
	__GUEST_ASSERT(shmem[CSR_WORD(__csr)] == __v,			\
		       "CSR " #__csr " is %lx, its word %lx", __v,	\
		       shmem[CSR_WORD(__csr)]);				\
} while (0)

static void check_csr_space(void)
{
	FOR_EACH_CSR(check_word);
	FOR_EACH_WINDOW(check_word);
	check_word(0xe12);
}

/* A write through CSR space does what a CSR instruction does */
#define check_write(__csr)						\
do {									\
	u64 __old = csr_read(__csr), __want;				\
									\
	csr_write(__csr, 0);						\
	csr_write(__csr, -1UL);						\
	__want = csr_read(__csr);					\
	csr_write(__csr, 0);						\
	nacl_mark(&nacl, __csr, -1UL);					\
	GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, __csr, 0, 0), SBI_SUCCESS);	\
	GUEST_ASSERT(!nacl_is_dirty(&nacl, __csr));			\
	check_word(__csr);						\
	GUEST_ASSERT_EQ(csr_read(__csr), __want);			\
	/* What is not marked is no write, and is brought up to date */	\
	shmem[CSR_WORD(__csr)] = ~__want;				\
	GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, __csr, 0, 0), SBI_SUCCESS);	\
	GUEST_ASSERT_EQ(csr_read(__csr), __want);			\
	check_word(__csr);						\
	csr_write(__csr, __old);					\
	check_word(__csr);						\
} while (0)

/* A word that L1 has stored but not yet marked is not touched meanwhile */
static void check_unmarked(void)
{
	u64 val;

	csr_write(CSR_VSSCRATCH, 0);
	shmem[CSR_WORD(CSR_VSSCRATCH)] = 0x31;
	shmem[CSR_WORD(CSR_HVIP)] = BIT(2);
	barrier();
	csr_write(CSR_HTVAL, 1);
	/* A trap that L0 raises */
	asm volatile(".option push\n.option norvc\ncsrr %0, 0x2ff\n.option pop"
		     : "=r" (val) :: "memory");
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_VSSCRATCH)], 0x31);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HVIP)], BIT(2));
	check_word(CSR_HSTATUS);
	check_word(CSR_HTVAL);
	if (!has(FEAT_CSR)) {
		/* Only a CSR that changes is brought up to date */
		csr_write(CSR_VSSCRATCH, 1);
		csr_write(CSR_VSSCRATCH, 0);
		csr_write(CSR_HVIP, BIT(6));
		csr_write(CSR_HVIP, 0);
		return;
	}

	nacl_mark(&nacl, CSR_VSSCRATCH, shmem[CSR_WORD(CSR_VSSCRATCH)]);
	nacl_mark(&nacl, CSR_HVIP, shmem[CSR_WORD(CSR_HVIP)]);
	GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, -1, 0, 0), SBI_SUCCESS);
	GUEST_ASSERT_EQ(csr_read(CSR_VSSCRATCH), 0x31);
	GUEST_ASSERT_EQ(csr_read(CSR_HVIP), BIT(2));
	csr_write(CSR_HVIP, 0);
}

static void check_csrs(void)
{
	check_csr_space();
	check_unmarked();

	/* CSR space follows a CSR instruction, and the windows on the CSR */
	csr_write(CSR_HTVAL, 0x1234);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HTVAL)], 0x1234);
	csr_write(CSR_HIDELEG, 0x444);
	csr_write(CSR_HVIP, BIT(2));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HVIP)], BIT(2));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HIP)], BIT(2));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_VSIP)], BIT(1));
	/* and who narrows them */
	csr_write(CSR_HIDELEG, 0);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_VSIP)], 0);
	csr_write(CSR_HVIP, 0);
	check_csr_space();

	nacl_mark(&nacl, CSR_HTVAL, 0x77);
	if (!has(FEAT_CSR)) {
		/* Nobody looks at that, not even on the way to L2 */
		GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, CSR_HTVAL, 0, 0), SBI_ERR_NOT_SUPPORTED);
		GUEST_ASSERT(nacl_is_dirty(&nacl, CSR_HTVAL));
		GUEST_ASSERT_EQ(csr_read(CSR_HTVAL), 0x1234);
		shmem[DIRTY_WORD + CSR_INDEX(CSR_HTVAL) / 64] = 0;
		csr_write(CSR_HTVAL, 0);
		return;
	}

	/* One: the others wait, and keep the value of L1 */
	nacl_mark(&nacl, CSR_VSSCRATCH, 0x99);
	csr_write(CSR_VSSCRATCH, 0x98);
	GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, CSR_HTVAL, 0, 0), SBI_SUCCESS);
	GUEST_ASSERT(!nacl_is_dirty(&nacl, CSR_HTVAL));
	GUEST_ASSERT(nacl_is_dirty(&nacl, CSR_VSSCRATCH));
	GUEST_ASSERT_EQ(csr_read(CSR_HTVAL), 0x77);
	GUEST_ASSERT_EQ(csr_read(CSR_VSSCRATCH), 0x98);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_VSSCRATCH)], 0x99);

	/* All: fields that cannot be written, windows, a read-only CSR, none */
	nacl_mark(&nacl, CSR_HEDELEG, -1UL);
	nacl_mark(&nacl, CSR_HVIP, BIT(2) | BIT(6));
	nacl_mark(&nacl, CSR_VSIE, -1UL);
	nacl_mark(&nacl, CSR_HIDELEG, BIT(2));
	nacl_mark(&nacl, CSR_HIE, 0);
	nacl_mark(&nacl, CSR_HGEIP, -1UL);
	nacl_mark(&nacl, CSR_NONE, 5);
	shmem[CSR_WORD(CSR_HIP)] = -1UL;
	GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, -1, 0, 0), SBI_SUCCESS);
	GUEST_ASSERT_EQ(csr_read(CSR_VSSCRATCH), 0x99);
	GUEST_ASSERT_NE(csr_read(CSR_HEDELEG), -1UL);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HIP)], BIT(2) | BIT(6));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_VSIP)], BIT(1));
	/* hideleg and hie are synchronized before vsie, a window on both */
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_VSIE)], BIT(1));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HIE)], BIT(2));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HGEIP)], 0);
	check_csr_space();
	/* No mark is left but the one of no CSR */
	GUEST_ASSERT(nacl_is_dirty(&nacl, CSR_NONE));
	shmem[DIRTY_WORD + CSR_INDEX(CSR_NONE) / 64] ^= BIT(CSR_INDEX(CSR_NONE) % 64);
	for (int i = 0; i < 16; i++)
		GUEST_ASSERT_EQ(shmem[DIRTY_WORD + i], 0);

	/* hvip is synchronized before hip, whose VSSIP is the same bit */
	nacl_mark(&nacl, CSR_HIP, BIT(2));
	nacl_mark(&nacl, CSR_HVIP, 0);
	GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, -1, 0, 0), SBI_SUCCESS);
	GUEST_ASSERT_EQ(csr_read(CSR_HVIP), BIT(2));
	nacl_mark(&nacl, CSR_HIP, 0);
	nacl_mark(&nacl, CSR_HVIP, BIT(2) | BIT(6));
	GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, -1, 0, 0), SBI_SUCCESS);
	GUEST_ASSERT_EQ(csr_read(CSR_HVIP), BIT(6));

	csr_write(CSR_HEDELEG, 0);
	csr_write(CSR_HVIP, 0);
	csr_write(CSR_HIE, 0);
	csr_write(CSR_HIDELEG, 0);

	FOR_EACH_CSR(check_write);
	csr_write(CSR_HIDELEG, 0x444);
	FOR_EACH_WINDOW(check_write);
	csr_write(CSR_HIDELEG, 0);
	check_csr_space();
}

/* --- To L2 and back ------------------------------------------------------------ */

static void resume_l2(void)
{
	u64 htval = csr_read(CSR_HTVAL);

	if (!has(FEAT_CSR))
		nacl_mark(&nacl, CSR_HTVAL, 0x77);
	nacl_run(&nacl, &ctx);
	if (!has(FEAT_CSR)) {
		GUEST_ASSERT(nacl_is_dirty(&nacl, CSR_HTVAL));
		shmem[DIRTY_WORD + CSR_INDEX(CSR_HTVAL) / 64] = 0;
	}

	/* What a trap from L2 changes is in CSR space */
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HTVAL)], ctx.htval);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HTINST)], ctx.htinst);
	if (nr_traces < ARRAY_SIZE(traces) || htval != ctx.htval)
		check_csr_space();

	if (nr_traces < ARRAY_SIZE(traces))
		traces[nr_traces++] = (struct trace) {
			.scause = ctx.scause, .stval = ctx.stval, .htval = ctx.htval,
			.htinst = ctx.htinst, .hstatus = ctx.hstatus,
			.sepc = ctx.sepc, .a0 = ctx.x[10],
		};
	ctx.hstatus |= HSTATUS_SPV | HSTATUS_SPVP;
}

static void run_l2(void)
{
	resume_l2();
	if (ctx.scause == CAUSE_INST_GUEST_PAGE)
		ctx.sepc = ctx.x[1];
	else if (!(ctx.scause >> 63))
		ctx.sepc += 4;
}

static void check_exits(void)
{
	int i;

	nr_traces = 0;
	/* An interrupt of L1, before L2 got anywhere */
	csr_set(CSR_SIE, BIT(1));
	csr_set(CSR_SIP, BIT(1));
	run_l2();
	GUEST_ASSERT_EQ(ctx.scause, BIT(63) | 1);
	GUEST_ASSERT_EQ(ctx.sepc, (u64)l2_code);
	csr_clear(CSR_SIP, BIT(1));
	csr_clear(CSR_SIE, BIT(1));

	for (i = 1; i < NR_EXITS; i++)
		run_l2();
	GUEST_ASSERT_EQ(ctx.scause, CAUSE_INST_GUEST_PAGE);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_VSSCRATCH)], 0x5c5c5c5c);
}

/* L2 gets all registers, and L1 gets them back */
static void check_gprs(void)
{
	struct nested_ctx saved = ctx;
	int i;

	ctx.sepc = (u64)l2_only_call;
	for (i = 1; i < 32; i++)
		ctx.x[i] = 0x0123456789abcdefUL * i;
	resume_l2();
	GUEST_ASSERT_EQ(ctx.scause, CAUSE_ECALL_VS);
	GUEST_ASSERT_EQ(ctx.sepc, (u64)l2_only_call);
	for (i = 1; i < 32; i++)
		GUEST_ASSERT_EQ(ctx.x[i], 0x0123456789abcdefUL * i);
	ctx = saved;
}

/* L2 entered by SRET: nothing is synchronized, what L1 marked stays marked */
static void check_marks_kept(u64 val)
{
	struct nested_ctx saved = ctx;

	ctx.sepc = (u64)l2_only_call;
	shmem[AUTOSWAP_WORD] = 0;
	nacl_mark(&nacl, CSR_VSSCRATCH, 0x2222);
	nested_run(&ctx);
	GUEST_ASSERT_EQ(ctx.scause, CAUSE_ECALL_VS);
	GUEST_ASSERT(nacl_is_dirty(&nacl, CSR_VSSCRATCH));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_VSSCRATCH)], 0x2222);
	GUEST_ASSERT_EQ(csr_read(CSR_VSSCRATCH), val);
	GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, CSR_VSSCRATCH, 0, 0), SBI_SUCCESS);
	GUEST_ASSERT_EQ(csr_read(CSR_VSSCRATCH), 0x2222);
	ctx = saved;
}

/* SYNC_SRET is SRET, and so can stay in L1 */
static void check_sret_v0(void)
{
	if (has(FEAT_CSR))
		check_marks_kept(csr_read(CSR_VSSCRATCH));
	if (!has(FEAT_SRET))
		return;

	csr_write(CSR_VSSCRATCH, 0x3333);
	csr_write(CSR_HSTATUS, HSTATUS_SPVP);
	shmem[AUTOSWAP_WORD] = 0;
	if (has(FEAT_CSR))
		nacl_mark(&nacl, CSR_VSSCRATCH, 0x1111);
	GUEST_ASSERT_EQ(sync_sret_v0(shmem), 0x5a5a);
	if (has(FEAT_CSR)) {
		GUEST_ASSERT_EQ(csr_read(CSR_VSSCRATCH), 0x1111);
		GUEST_ASSERT(!nacl_is_dirty(&nacl, CSR_VSSCRATCH));
		check_marks_kept(0x1111);
	}

	/* Swapped before SRET; V did not go from 1 to 0, so not back */
	csr_write(CSR_HSTATUS, HSTATUS_SPV | HSTATUS_SPVP);
	if (has(FEAT_AUTOSWAP)) {
		shmem[AUTOSWAP_WORD + 1] = HSTATUS_VTSR;
		shmem[AUTOSWAP_WORD] = 1;
		GUEST_ASSERT_EQ(sync_sret_v0(shmem), 0x5a5a);
		GUEST_ASSERT_EQ(csr_read(CSR_HSTATUS) & ~HSTATUS_VSXL, HSTATUS_VTSR);
		GUEST_ASSERT_EQ(shmem[AUTOSWAP_WORD + 1] & ~HSTATUS_VSXL,
				HSTATUS_SPV | HSTATUS_SPVP);
		shmem[AUTOSWAP_WORD] = 0;
	}
	csr_write(CSR_HSTATUS, 0);
	check_csr_space();
}

/* --- Errors ---------------------------------------------------------------------- */

static void check_probe(void)
{
	struct sbiret ret;
	u64 i;

	for (i = 0; i < 70; i++) {
		ret = sbi_ecall(SBI_EXT_NACL, PROBE_FEATURE, i, 0, 0, 0, 0, 0);
		GUEST_ASSERT_EQ(ret.error, SBI_SUCCESS);
		GUEST_ASSERT_EQ((u64)ret.value, i < NR_FEATS ? nacl.features >> i & 1 : 0);
	}
	/* A feature ID has 32 bits */
	ret = sbi_ecall(SBI_EXT_NACL, PROBE_FEATURE, BIT(32), 0, 0, 0, 0, 0);
	GUEST_ASSERT_EQ((u64)ret.value, nacl.features & 1);
	ret = sbi_ecall(SBI_EXT_NACL, PROBE_FEATURE, 0xffffffff, 0, 0, 0, 0, 0);
	GUEST_ASSERT_EQ((u64)ret.value, 0);
	GUEST_ASSERT_EQ(nacl_call(5, 0, 0, 0), SBI_ERR_NOT_SUPPORTED);
	GUEST_ASSERT_EQ(nacl_call(-1, 0, 0, 0), SBI_ERR_NOT_SUPPORTED);
	/* The base extension knows it */
	ret = sbi_ecall(SBI_EXT_BASE, 3, SBI_EXT_NACL, 0, 0, 0, 0, 0);
	GUEST_ASSERT_EQ((u64)ret.value, 1);
}

/* Errors, with or without shared memory; @none is what a good call returns */
static void check_errors(long none)
{
	static const u64 bad_csrs[] = {
		0x300, 0x100, 0x000, 0x400, 0xfff, 0x1200, 0x1600, -2UL,
		0x2ff, 0x6ff, 0xa00, 0xaff, 0xeff, 0x251, 0x25c, BIT(40) | 0x600,
	};
	static const u64 bad_entries[] = { NR_HFENCES, NR_HFENCES + 1, 64, BIT(32), -2UL };
	long err;
	u64 i;

	/* Which error comes first of two is not specified: parameters do here */
	err = has(FEAT_CSR) ? SBI_ERR_INVALID_PARAM : SBI_ERR_NOT_SUPPORTED;
	for (i = 0; i < ARRAY_SIZE(bad_csrs); i++)
		GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, bad_csrs[i], 0, 0), err);
	err = has(FEAT_CSR) ? none : SBI_ERR_NOT_SUPPORTED;
	GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, CSR_HSTATUS, 0, 0), err);
	GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, CSR_HGEIP, 0, 0), err);
	GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, -1, 0, 0), err);

	err = has(FEAT_HFENCE) ? SBI_ERR_INVALID_PARAM : SBI_ERR_NOT_SUPPORTED;
	for (i = 0; i < ARRAY_SIZE(bad_entries); i++)
		GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, bad_entries[i], 0, 0), err);
	err = has(FEAT_HFENCE) ? none : SBI_ERR_NOT_SUPPORTED;
	GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, 0, 0, 0), err);
	GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, NR_HFENCES - 1, 0, 0), err);
	GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, -1, 0, 0), err);

	if (none || !has(FEAT_SRET)) {
		err = has(FEAT_SRET) ? none : SBI_ERR_NOT_SUPPORTED;
		GUEST_ASSERT_EQ(nacl_call(SYNC_SRET, 0, 0, 0), err);
	}
}

static void bad_shmem(u64 lo, u64 hi, u64 flags, long err)
{
	__GUEST_ASSERT(nacl_call(SET_SHMEM, lo, hi, flags) == err,
		       "set_shmem(%lx, %lx, %lx)", lo, hi, flags);
}

static void check_bad_shmem(void)
{
	bad_shmem(SHMEM_GPA, 0, 1, SBI_ERR_INVALID_PARAM);
	bad_shmem(SHMEM_GPA, 0, BIT(63), SBI_ERR_INVALID_PARAM);
	bad_shmem(-1, -1, 1, SBI_ERR_INVALID_PARAM);
	bad_shmem(SHMEM_GPA + 1, 0, 0, SBI_ERR_INVALID_PARAM);
	bad_shmem(SHMEM_GPA + 8, 0, 0, SBI_ERR_INVALID_PARAM);
	bad_shmem(SHMEM_GPA + 2048, 0, 0, SBI_ERR_INVALID_PARAM);
	bad_shmem(-1, 0, 0, SBI_ERR_INVALID_PARAM);
	bad_shmem(SHMEM_GPA, 1, 0, SBI_ERR_INVALID_ADDRESS);
	bad_shmem(SHMEM_GPA, -1, 0, SBI_ERR_INVALID_ADDRESS);
	bad_shmem(-4096UL, 0, 0, SBI_ERR_INVALID_ADDRESS);
	bad_shmem(-3 * 4096UL, 0, 0, SBI_ERR_INVALID_ADDRESS);
	bad_shmem(NESTED_MMIO_GPA, 0, 0, SBI_ERR_INVALID_ADDRESS);
	bad_shmem(RO_GPA, 0, 0, SBI_ERR_INVALID_ADDRESS);
	/* Beyond the addresses that a VM can have, but like one of them in the rest */
	bad_shmem(SHMEM_GPA | BIT(60), 0, 0, SBI_ERR_INVALID_ADDRESS);
	bad_shmem(SHMEM_GPA | BIT(63), 0, 0, SBI_ERR_INVALID_ADDRESS);
	/* The last page is not there, or the first one */
	bad_shmem(SHMEM_GPA + 4096, 0, 0, SBI_ERR_INVALID_ADDRESS);
	bad_shmem(SHMEM_GPA - 4096, 0, 0, SBI_ERR_INVALID_ADDRESS);
}

static void check_set_shmem(void)
{
	/* The G-stage maps all of it from now on */
	for (int i = 0; i < SHMEM_PAGES; i++)
		shmem[i * 512] = 0;
	check_bad_shmem();
	check_errors(SBI_ERR_NO_SHMEM);

	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, SHMEM_GPA, 0, 0), SBI_SUCCESS);
	check_errors(SBI_SUCCESS);
	check_csr_space();
	/* Calls that fail leave the one before alone */
	check_bad_shmem();
	check_errors(SBI_SUCCESS);
	csr_write(CSR_HTVAL, 0x4321);
	check_word(CSR_HTVAL);

	/* Somewhere else */
	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, OTHER_GPA, 0, 0), SBI_SUCCESS);
	GUEST_ASSERT_EQ(OTHER_MEM[CSR_WORD(CSR_HTVAL)], 0x4321);
	csr_write(CSR_HTVAL, 0x4322);
	GUEST_ASSERT_EQ(OTHER_MEM[CSR_WORD(CSR_HTVAL)], 0x4322);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HTVAL)], 0x4321);

	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, -1, -1, 0), SBI_SUCCESS);
	check_errors(SBI_ERR_NO_SHMEM);
	/* Twice is no error */
	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, -1, -1, 0), SBI_SUCCESS);

	nacl_init(&nacl, nacl.features);
	check_csr_space();
}

/* --- HFENCEs ---------------------------------------------------------------------- */

static u64 *gstage_pte, gstage_leaf[2];
static unsigned int flips;

static u64 l2_reads(void)
{
	run_l2();
	GUEST_ASSERT_EQ(ctx.scause, CAUSE_ECALL_VS);
	return ctx.x[10];
}

static u64 flip_pte(void)
{
	WRITE_ONCE(*gstage_pte, gstage_leaf[++flips % 2]);
	return 100 + flips % 2;
}

static void sync_hfences(void)
{
	if (has(FEAT_SRET))
		return;
	GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, -1, 0, 0), SBI_SUCCESS);
}

/* L2 has the old translation before the fence, and the new one then */
static void check_fence(u64 config, u64 pnum, u64 pcount)
{
	unsigned int i, tries;
	bool stale;
	u64 val;

	/* L0 may always forget a translation, but not every time */
	for (stale = false, tries = 0; !stale; tries++) {
		GUEST_ASSERT(tries < 10);
		val = flip_pte();
		stale = l2_reads() != val;
		i = nacl_hfence(&nacl, config, pnum, pcount);
		sync_hfences();
		__GUEST_ASSERT(l2_reads() == val, "config %lx, page %lx, %lx pages",
			       config, pnum, pcount);
		GUEST_ASSERT_EQ(shmem[HFENCE_WORD(i)], config & ~HFENCE_PENDING);
		GUEST_ASSERT_EQ(shmem[HFENCE_WORD(i) + 1], pnum);
		GUEST_ASSERT_EQ(shmem[HFENCE_WORD(i) + 3], pcount);
	}
}

static void check_gvma(void)
{
	const u64 page = L2_PAGE >> 12;
	static const struct {
		unsigned int type, order, vmid, asid;
		u64 pnum, pcount;
	} t[] = {
		{ GVMA, 0, 0, 0, L2_PAGE >> 12, 1 },
		{ GVMA, 0, 0, 0, (L2_PAGE >> 12) - 1, 2 },
		{ GVMA, 0, 0, 0, (L2_PAGE >> 12) - 511, 512 },
		{ GVMA, 0, 0, 0, (L2_PAGE >> 12) - 512, 513 },
		{ GVMA, 9, 0, 0, L2_PAGE >> 21, 1 },
		{ GVMA, 18, 0, 0, L2_PAGE >> 30, 1 },
		/* VMID and ASID are ignored */
		{ GVMA, 0, 77, 88, L2_PAGE >> 12, 1 },
		/* Too many pages, sizes and sums that fit into no address */
		{ GVMA, 0, 0, 0, 0, -1UL },
		{ GVMA, 0, 0, 0, -1UL, 1 },
		{ GVMA, 0, 0, 0, L2_PAGE >> 12, -1UL },
		{ GVMA, 51, 0, 0, 0, 1 },
		{ GVMA, 52, 0, 0, 0, 1 },
		{ GVMA, 127, 0, 0, 1, 1 },
		{ GVMA, 40, 0, 0, 4095, 4095 },
		{ GVMA_ALL, 0, 0, 0, 0, 0 },
		/* All else is ignored */
		{ GVMA_ALL, 99, 77, 88, 12345, 1 },
		{ GVMA_VMID, 0, 1, 0, L2_PAGE >> 12, 1 },
		{ GVMA_VMID, 9, 1, 5, L2_PAGE >> 21, 2 },
		{ GVMA_VMID, 0, 1, 0, 0, -1UL },
		{ GVMA_VMID_ALL, 0, 1, 0, 0, 0 },
		{ GVMA_VMID_ALL, 99, 1, 88, 12345, 1 },
	};
	unsigned int i, tries;
	u64 val;

	for (i = 0; i < ARRAY_SIZE(t); i++)
		check_fence(HFENCE_CONFIG(t[i].type, t[i].order, t[i].vmid, t[i].asid),
			    t[i].pnum, t[i].pcount);

	/* One of two */
	for (i = 0; i < NR_HFENCES; i++)
		shmem[HFENCE_WORD(i)] = 0;
	val = flip_pte();
	i = nacl_hfence(&nacl, HFENCE_CONFIG(GVMA_ALL, 0, 0, 0), 0, 0);
	nacl_hfence(&nacl, HFENCE_CONFIG(GVMA, 0, 0, 0), page, 1);
	GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, i, 0, 0), SBI_SUCCESS);
	GUEST_ASSERT_EQ(shmem[HFENCE_WORD(i)] & HFENCE_PENDING, 0);
	GUEST_ASSERT_EQ(shmem[HFENCE_WORD(i + 1)] & HFENCE_PENDING, HFENCE_PENDING);
	/* One that is not pending is none */
	GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, i + 2, 0, 0), SBI_SUCCESS);
	GUEST_ASSERT_EQ(shmem[HFENCE_WORD(i + 1)] & HFENCE_PENDING, HFENCE_PENDING);
	sync_hfences();
	GUEST_ASSERT_EQ(l2_reads(), val);
	GUEST_ASSERT_EQ(shmem[HFENCE_WORD(i + 1)] & HFENCE_PENDING, 0);

	/* Once is enough: entries that were processed do not fence again */
	for (tries = 0; tries < 10; tries++) {
		val = flip_pte();
		GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, -1, 0, 0), SBI_SUCCESS);
		GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, i, 0, 0), SBI_SUCCESS);
		if (l2_reads() != val)
			break;
	}
	GUEST_ASSERT_NE(tries, 10);

	/* More than there are entries; what is queued last counts, too */
	for (i = 0; i < 3 * NR_HFENCES; i++)
		nacl_hfence(&nacl, HFENCE_CONFIG(GVMA_VMID, 0, 3, 0), i * 77, i);
	nacl_hfence(&nacl, HFENCE_CONFIG(GVMA, 0, 0, 0), page, 1);
	sync_hfences();
	GUEST_ASSERT_EQ(l2_reads(), val);

	/* All types, the reserved ones as well, all entries at once */
	for (i = 0; i < NR_HFENCES; i++)
		nacl_hfence(&nacl, HFENCE_CONFIG(i % 16, i, 1, i) | (i & 1 ? BIT(55) : 0) |
			    (u64)(i & 7) << 60, i * 77, i);
	sync_hfences();
	GUEST_ASSERT_EQ(l2_reads(), val);
	for (i = 0; i < NR_HFENCES; i++)
		GUEST_ASSERT_EQ(shmem[HFENCE_WORD(i)] & HFENCE_PENDING, 0);
}

#define GIGA			BIT(30)
#define VS_VA			(2 * GIGA)
#define VS_ASID			5UL
#define VS_LEAF			(BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(6) | BIT(7))

static u64 vs_root[512] __aligned(4096);
static u64 vs_mid[512] __aligned(4096);
static u64 vs_low[512] __aligned(4096);

static void l2_paged(void)
{
	for (;;)
		nested_l2_call(READ_ONCE(*(u64 *)VS_VA));
}

/*
 * Those of the VS-stage: L2 has a page table of its own, which L1 changes. Where
 * the hart forgets on its own what it knew there is nothing to be seen of them.
 */
static void check_vvma(void)
{
	static const struct {
		unsigned int type, order;
		u64 pnum, pcount;
	} t[] = {
		{ VVMA, 0, VS_VA >> 12, 1 },
		{ VVMA, 0, (VS_VA >> 12) - 1, 3 },
		{ VVMA, 9, VS_VA >> 21, 1 },
		{ VVMA, 0, 0, -1UL },
		{ VVMA, 127, 0, 1 },
		{ VVMA_ALL, 0, 0, 0 },
		{ VVMA_ALL, 99, 12345, 1 },
		{ VVMA_ASID, 0, VS_VA >> 12, 1 },
		{ VVMA_ASID, 0, (VS_VA >> 12) - 511, 512 },
		{ VVMA_ASID, 0, -1UL, -1UL },
		{ VVMA_ASID_ALL, 0, 0, 0 },
		{ VVMA_ASID_ALL, 99, 12345, 1 },
	};
	unsigned int i, n = 0;

	/* The first gigabyte, with the program, as it is */
	vs_root[0] = VS_LEAF;
	vs_root[VS_VA / GIGA] = (u64)vs_mid >> 12 << 10 | BIT(0);
	vs_mid[0] = (u64)vs_low >> 12 << 10 | BIT(0);
	vs_low[0] = L2_PAGE >> 12 << 10 | VS_LEAF;
	nested_map(&nested_pgt, L2_PAGE, NESTED_TEST_GPA, 0, NESTED_PTE_RWX);
	nested_map(&nested_pgt, L2_PAGE + 4096, NESTED_TEST_GPA + 4096, 0, NESTED_PTE_RWX);
	nested_init(&ctx, l2_paged);
	csr_write(CSR_VSATP, 8UL << 60 | VS_ASID << 44 | (u64)vs_root >> 12);
	GUEST_ASSERT_EQ(l2_reads(), 100);

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		WRITE_ONCE(vs_low[0], (L2_PAGE + ++n % 2 * 4096) >> 12 << 10 | VS_LEAF);
		nacl_hfence(&nacl, HFENCE_CONFIG(t[i].type, t[i].order, 1,
						 t[i].type >= VVMA_ASID ? VS_ASID : 0),
			    t[i].pnum, t[i].pcount);
		sync_hfences();
		GUEST_ASSERT_EQ(l2_reads(), 100 + n % 2);
	}
	csr_write(CSR_VSATP, 0);
}

static void check_hfences(void)
{
	gstage_pte = nested_map(&nested_pgt, L2_PAGE, NESTED_TEST_GPA, 0, NESTED_PTE_RWX);
	gstage_leaf[0] = *gstage_pte;
	gstage_leaf[1] = *gstage_pte + (1UL << 10);
	*(u64 *)NESTED_L2_ADDR = 100;
	*(u64 *)(NESTED_L2_ADDR + 4096) = 101;
	nested_hfence_gvma();
	GUEST_ASSERT_EQ(l2_reads(), 100);

	if (!has(FEAT_HFENCE)) {
		/* Nobody looks at that */
		shmem[HFENCE_WORD(0)] = HFENCE_CONFIG(GVMA_ALL, 0, 0, 0);
		l2_reads();
		GUEST_ASSERT_EQ(shmem[HFENCE_WORD(0)], HFENCE_CONFIG(GVMA_ALL, 0, 0, 0));
		shmem[HFENCE_WORD(0)] = 0;
		return;
	}

	check_gvma();
	check_vvma();
}

/* Without shared memory nothing is read or written any more, and L1 does without */
static void check_disable(void)
{
	struct nacl none = { 0 };

	nacl_sync(&nacl);
	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, -1, -1, 0), SBI_SUCCESS);
	shmem[CSR_WORD(CSR_HTVAL)] = 1;
	csr_write(CSR_HTVAL, 2);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HTVAL)], 1);
	shmem[AUTOSWAP_WORD] = 1;
	shmem[AUTOSWAP_WORD + 1] = 0x77;
	shmem[CSR_WORD(CSR_HSTATUS)] = 0x88;
	nested_init(&ctx, (void *)l2_only_call);
	nacl_run(&none, &ctx);
	GUEST_ASSERT_EQ(ctx.scause, CAUSE_ECALL_VS);
	GUEST_ASSERT_EQ(ctx.hstatus & HSTATUS_SPV, HSTATUS_SPV);
	GUEST_ASSERT_EQ(shmem[AUTOSWAP_WORD + 1], 0x77);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HSTATUS)], 0x88);

	nacl_init(&nacl, nacl.features);
	check_csr_space();
	nested_init(&ctx, (void *)l2_only_call);
	run_l2();
	GUEST_ASSERT_EQ(ctx.scause, CAUSE_ECALL_VS);
}

static void l1_code(u64 features)
{
	nacl.features = features;
	check_probe();
	nested_init(&ctx, l2_code);
	check_set_shmem();
	check_csrs();

	nested_init(&ctx, l2_code);
	check_exits();
	check_gprs();
	check_sret_v0();
	check_hfences();
	check_disable();
	GUEST_DONE();
}

/* --- Host side ------------------------------------------------------------------ */

static void skip_insn(struct pt_regs *regs)
{
	regs->epc += 4;
}

static struct kvm_vm *create_vm(struct kvm_vcpu **vcpu, void *code)
{
	struct kvm_vm *vm = nested_vm_create(vcpu, code, VM_MEM_SRC_ANONYMOUS);

	nacl_add_memory(vm);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, RO_GPA, RO_SLOT,
				    SHMEM_PAGES, KVM_MEM_READONLY);
	vm_install_exception_handler(vm, 2, skip_insn);
	return vm;
}

/* Returns false when L1 is done, true if it wants something of the host */
static bool run(struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	vcpu_run(vcpu);
	switch (get_ucall(vcpu, &uc)) {
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
		break;
	case UCALL_SYNC:
		return true;
	case UCALL_DONE:
		return false;
	default:
		TEST_FAIL("unexpected exit %u", vcpu->run->exit_reason);
	}
	return false;
}

static struct trace first[NR_EXITS];

static void test_features(u64 feats)
{
	struct trace *here;
	struct kvm_vcpu *vcpu;
	unsigned int n, i;
	struct kvm_vm *vm;

	vm = create_vm(&vcpu, l1_code);
	vcpu_set_reg(vcpu, NACL_REG(features), feats);
	vcpu_args_set(vcpu, 1, feats);
	TEST_ASSERT(!run(vcpu), "L1 is not done");
	TEST_ASSERT_EQ(vcpu_get_reg(vcpu, NACL_REG(shmem_lo)), SHMEM_GPA);

	here = addr_gva2hva(vm, (gva_t)traces);
	n = *(unsigned int *)addr_gva2hva(vm, (gva_t)&nr_traces);
	TEST_ASSERT(n == NR_EXITS, "%u exits of L2", n);
	if (!feats)
		memcpy(first, here, sizeof(first));
	/* They are the same whatever L1 has */
	for (i = 0; i < NR_EXITS; i++)
		TEST_ASSERT(!memcmp(&first[i], &here[i], sizeof(first[i])),
			    "exit %u: scause %lx stval %lx htval %lx hstatus %lx sepc %lx a0 %lx, without features scause %lx stval %lx htval %lx hstatus %lx sepc %lx a0 %lx",
			    i, here[i].scause, here[i].stval, here[i].htval, here[i].hstatus,
			    here[i].sepc, here[i].a0, first[i].scause, first[i].stval,
			    first[i].htval, first[i].hstatus, first[i].sepc, first[i].a0);
	kvm_vm_free(vm);
	ksft_test_result_pass("features 0x%lx\n", (unsigned long)feats);
}

static unsigned int nr_nacl_regs(struct kvm_vcpu *vcpu)
{
	struct kvm_reg_list *list = vcpu_get_reg_list(vcpu);
	unsigned int i, n = 0;

	for (i = 0; i < list->n; i++)
		n += (list->reg[i] & ~0xffUL) == nacl_reg(0);
	free(list);

	return n;
}

static bool set_fails(struct kvm_vcpu *vcpu, u64 id, u64 val, int err)
{
	return __vcpu_set_reg(vcpu, id, val) && errno == err;
}

static void l1_one_reg(void)
{
	GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, -1, 0, 0), SBI_ERR_NO_SHMEM);
	GUEST_SYNC(0);
	/* The host has said where it is */
	GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, -1, 0, 0), SBI_SUCCESS);
	csr_write(CSR_HTVAL, 0x99);
	check_word(CSR_HTVAL);
	GUEST_SYNC(0);
	/* and now where there is nothing */
	GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, -1, 0, 0), SBI_ERR_NO_SHMEM);
	csr_write(CSR_HTVAL, 0x98);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HTVAL)], 0x99);
	GUEST_DONE();
}

static void test_one_reg(void)
{
	u64 lo = NACL_REG(shmem_lo), hi = NACL_REG(shmem_hi), feats = NACL_REG(features);
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	u64 val;

	vm = create_vm(&vcpu, l1_one_reg);
	TEST_ASSERT_EQ(nr_nacl_regs(vcpu), 3);
	TEST_ASSERT_EQ(vcpu_get_reg(vcpu, feats), 0xf);
	TEST_ASSERT_EQ(vcpu_get_reg(vcpu, lo), -1UL);
	TEST_ASSERT_EQ(vcpu_get_reg(vcpu, hi), 0);
	for (val = 0; val < 16; val++) {
		vcpu_set_reg(vcpu, feats, val);
		TEST_ASSERT_EQ(vcpu_get_reg(vcpu, feats), val);
		TEST_ASSERT_EQ(nr_nacl_regs(vcpu), 3);
	}
	for (val = 0x10; val; val <<= 1)
		TEST_ASSERT(set_fails(vcpu, feats, val, EINVAL), "feature %lx", val);
	TEST_ASSERT_EQ(vcpu_get_reg(vcpu, feats), 0xf);
	TEST_ASSERT(set_fails(vcpu, nacl_reg(3), 0, ENOENT), "one too many");
	TEST_ASSERT(set_fails(vcpu, (lo & ~KVM_REG_SIZE_MASK) | KVM_REG_SIZE_U32, 0, EINVAL),
		    "too small");
	vcpu_set_reg(vcpu, feats, 0xe);

	TEST_ASSERT(run(vcpu), "L1 is done");
	TEST_ASSERT(set_fails(vcpu, feats, 0xf, EBUSY), "features are settled");
	vcpu_set_reg(vcpu, feats, 0xe);
	vcpu_set_reg(vcpu, lo, SHMEM_GPA);
	TEST_ASSERT_EQ(vcpu_get_reg(vcpu, lo), SHMEM_GPA);
	TEST_ASSERT(run(vcpu), "L1 is done");

	TEST_ASSERT(set_fails(vcpu, lo, 0x1008, EINVAL), "not aligned");
	TEST_ASSERT(set_fails(vcpu, lo, -2UL, EINVAL), "not aligned");
	TEST_ASSERT(set_fails(vcpu, lo, -4096UL, EINVAL), "too high");
	TEST_ASSERT(set_fails(vcpu, hi, 1, EINVAL), "high half");
	TEST_ASSERT(set_fails(vcpu, hi, -1UL, EINVAL), "high half");
	vcpu_set_reg(vcpu, hi, 0);
	/* What fails changes nothing */
	TEST_ASSERT_EQ(vcpu_get_reg(vcpu, lo), SHMEM_GPA);
	/* Where there is nothing shows when it is used */
	vcpu_set_reg(vcpu, lo, NESTED_MMIO_GPA);
	TEST_ASSERT_EQ(vcpu_get_reg(vcpu, lo), NESTED_MMIO_GPA);
	TEST_ASSERT(!run(vcpu), "L1 is not done");
	vcpu_set_reg(vcpu, lo, -1UL);
	kvm_vm_free(vm);

	/* Without H there is nothing */
	vm = create_vm(&vcpu, l1_one_reg);
	vcpu_set_reg(vcpu, RISCV_ISA_EXT_REG(KVM_RISCV_ISA_EXT_H), 0);
	TEST_ASSERT_EQ(nr_nacl_regs(vcpu), 0);
	TEST_ASSERT(set_fails(vcpu, lo, SHMEM_GPA, ENOENT), "no H extension");
	kvm_vm_free(vm);
	ksft_test_result_pass("registers\n");
}

static void l1_disabled(void)
{
	struct sbiret ret = sbi_ecall(SBI_EXT_BASE, 3, SBI_EXT_NACL, 0, 0, 0, 0, 0);
	int i;

	GUEST_ASSERT_EQ(ret.value, 0);
	csr_write(CSR_HTVAL, 0x55);
	for (i = PROBE_FEATURE; i <= SYNC_SRET; i++)
		GUEST_ASSERT_EQ(nacl_call(i, i == SET_SHMEM ? SHMEM_GPA : -1, 0, 0),
				SBI_ERR_NOT_SUPPORTED);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HTVAL)], 0);
	nested_init(&ctx, (void *)l2_only_call);
	nested_run(&ctx);
	GUEST_ASSERT_EQ(ctx.scause, CAUSE_ECALL_VS);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HSTATUS)], 0);
	GUEST_DONE();
}

/* Turned off, whatever userspace did to its registers before */
static void test_disabled(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = create_vm(&vcpu, l1_disabled);
	vcpu_set_reg(vcpu, NACL_REG(shmem_lo), SHMEM_GPA);
	vcpu_set_reg(vcpu, RISCV_SBI_EXT_REG(KVM_RISCV_SBI_EXT_NACL), 0);
	TEST_ASSERT_EQ(nr_nacl_regs(vcpu), 0);
	TEST_ASSERT(set_fails(vcpu, NACL_REG(features), 0, EINVAL), "extension is off");
	TEST_ASSERT(!run(vcpu), "L1 is not done");
	kvm_vm_free(vm);
	ksft_test_result_pass("extension turned off\n");
}

static void l1_dirty_log(void)
{
	int i;

	nacl_init(&nacl, 0xf);
	nested_init(&ctx, (void *)l2_only_call);
	for (i = 0; i < 4; i++) {
		GUEST_SYNC(0);
		csr_write(CSR_HTVAL, i + 1);
		GUEST_SYNC(0);
	}
	/* An entry of the first page, and the autoswap context */
	nacl_hfence(&nacl, HFENCE_CONFIG(GVMA_ALL, 0, 0, 0), 0, 0);
	GUEST_SYNC(0);
	GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, -1, 0, 0), SBI_SUCCESS);
	GUEST_SYNC(0);
	GUEST_DONE();
}

/* What L0 writes is logged like what L1 writes */
static void test_dirty_log(void)
{
	unsigned long dirty[2];
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int i;

	vm = create_vm(&vcpu, l1_dirty_log);
	vm_mem_region_set_flags(vm, SHMEM_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
	for (i = 0; i < 4; i++) {
		TEST_ASSERT(run(vcpu), "L1 is done");
		if (!i)
			vm_mem_region_set_flags(vm, SHMEM_SLOT + 1, KVM_MEM_LOG_DIRTY_PAGES);
		kvm_vm_get_dirty_log(vm, SHMEM_SLOT + 1, dirty);
		TEST_ASSERT(run(vcpu), "L1 is done");
		kvm_vm_get_dirty_log(vm, SHMEM_SLOT + 1, dirty);
		TEST_ASSERT(dirty[0] & 1, "the write to CSR space was not logged");
	}
	TEST_ASSERT(run(vcpu), "L1 is done");
	kvm_vm_get_dirty_log(vm, SHMEM_SLOT, dirty);
	TEST_ASSERT(run(vcpu), "L1 is done");
	kvm_vm_get_dirty_log(vm, SHMEM_SLOT, dirty);
	TEST_ASSERT(dirty[0] & 1, "clearing the pending bit was not logged");
	TEST_ASSERT(!run(vcpu), "L1 is not done");
	kvm_vm_free(vm);
	ksft_test_result_pass("dirty log\n");
}

/* --- Hostile memory --------------------------------------------------------------- */

static u64 stop_scribbling;

static u64 rnd(u64 *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/*
 * Another vCPU of L1. It leaves out mode Bare of hgatp: L2 would have all memory of
 * L1, its program included, and what becomes of L1 then is no matter of L0.
 */
static void l1_scribble(void)
{
	unsigned int word;
	u64 seed = 1, val;

	while (!READ_ONCE(stop_scribbling)) {
		word = rnd(&seed) % (512 * SHMEM_PAGES);
		val = rnd(&seed);
		if (word == CSR_WORD(CSR_HGATP))
			val |= HGATP_MODE_SV39X4 << HGATP_MODE_SHIFT;
		WRITE_ONCE(shmem[word], val);
	}
	GUEST_DONE();
}

/* L1 keeps using shared memory that others play with; it does not touch it itself */
static void l1_hostile_code(u64 rounds)
{
	unsigned long i;
	long err;

	/* The memory may be missing just now */
	do {
		err = nacl_call(SET_SHMEM, SHMEM_GPA, 0, 0);
	} while (err == SBI_ERR_INVALID_ADDRESS);
	GUEST_ASSERT_EQ(err, SBI_SUCCESS);
	for (i = 0; i < rounds; i++) {
		err = nacl_call(SYNC_CSR, -1, 0, 0);
		GUEST_ASSERT(err == SBI_SUCCESS || err == SBI_ERR_NO_SHMEM);
		errors_seen += err != SBI_SUCCESS;
		err = nacl_call(SYNC_HFENCE, -1, 0, 0);
		GUEST_ASSERT(err == SBI_SUCCESS || err == SBI_ERR_NO_SHMEM);
		/* Any value may have come in */
		csr_write(CSR_HSTATUS, 0);

		if (i % 4)
			continue;
		/* Into L2, or not, with any registers; the timer ends it in any case */
		nested_init(&ctx, (void *)l2_only_call);
		sbi_ecall(0x54494d45, 0, csr_read(CSR_TIME) + 1000, 0, 0, 0, 0, 0);
		csr_set(CSR_SIE, BIT(5));
		err = nested_run_sync_sret(&ctx);
		GUEST_ASSERT(err == (long)&ctx || err == SBI_ERR_NO_SHMEM);
		csr_clear(CSR_SIE, BIT(5));
		csr_write(CSR_HSTATUS, 0);
	}
	GUEST_DONE();
}

static atomic_bool stop;

static void *run_scribble(void *arg)
{
	struct kvm_vcpu *vcpu = arg;

	TEST_ASSERT(!run(vcpu), "L1 is not done");
	return NULL;
}

static void *replug(void *arg)
{
	struct kvm_vm *vm = arg;

	while (!atomic_load(&stop)) {
		struct userspace_mem_region *r = memslot2region(vm, SHMEM_SLOT);
		struct kvm_userspace_memory_region2 region = r->region;

		region.memory_size = 0;
		vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &region);
		vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &r->region);
		madvise(r->host_mem, 4096, MADV_DONTNEED);
	}
	return NULL;
}

/* The memory stays, but not the pages, and writes of them are logged */
static void *reclaim(void *arg)
{
	struct kvm_vm *vm = arg;
	struct userspace_mem_region *r = memslot2region(vm, SHMEM_SLOT);
	unsigned long dirty[2];

	vm_mem_region_set_flags(vm, SHMEM_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
	while (!atomic_load(&stop)) {
		madvise(r->host_mem, 4096, MADV_DONTNEED);
		kvm_vm_get_dirty_log(vm, SHMEM_SLOT, dirty);
		usleep(200);
	}
	return NULL;
}

static void *migrate(void *arg)
{
	pthread_t vcpu_thread = *(pthread_t *)arg;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned int seed = 1;
	cpu_set_t set;

	while (!atomic_load(&stop)) {
		CPU_ZERO(&set);
		CPU_SET(rand_r(&seed) % cpus, &set);
		pthread_setaffinity_np(vcpu_thread, sizeof(set), &set);
		usleep(100);
	}
	return NULL;
}

static u64 hostile_run(void *(*fn)(void *), int rounds, u64 feats)
{
	pthread_t threads[2], self = pthread_self();
	struct kvm_vcpu *vcpu, *vcpu2;
	struct kvm_vm *vm;
	cpu_set_t all;
	u64 errors;

	TEST_ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
	vm = create_vm(&vcpu, l1_hostile_code);
	vcpu_set_reg(vcpu, NACL_REG(features), feats);
	vcpu2 = vm_vcpu_add(vm, 1, l1_scribble);
	vcpu_init_vector_tables(vcpu2);
	vcpu_args_set(vcpu, 1, (u64)rounds);
	atomic_store(&stop, false);
	pthread_create(&threads[0], NULL, fn, fn == run_scribble ? (void *)vcpu2 : (void *)vm);
	pthread_create(&threads[1], NULL, migrate, &self);
	TEST_ASSERT(!run(vcpu), "L1 is not done");
	atomic_store(&stop, true);
	*(u64 *)addr_gva2hva(vm, (gva_t)&stop_scribbling) = 1;
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	sched_setaffinity(0, sizeof(all), &all);
	errors = *(u64 *)addr_gva2hva(vm, (gva_t)&errors_seen);
	kvm_vm_free(vm);

	return errors;
}

/* With hstatus exchanged by L0, and without */
static void test_hostile(const char *name, void *(*fn)(void *), int rounds)
{
	u64 errors = hostile_run(fn, rounds, 0xf) +
		     hostile_run(fn, rounds, 0xf & ~BIT(FEAT_AUTOSWAP));

	ksft_print_msg("%s: %lu calls without shared memory\n", name, (unsigned long)errors);
	ksft_test_result_pass("%s\n", name);
}

int main(int argc, char *argv[])
{
	int rounds = argc > 1 ? atoi(argv[1]) : 500;
	u64 feats;

	ksft_print_header();
	if (!nested_supported())
		ksft_exit_skip("KVM does not offer the H extension, see kvm.nested\n");
	ksft_set_plan((1 << NR_FEATS) + 6);

	test_one_reg();
	test_disabled();
	for (feats = 0; feats < 1 << NR_FEATS; feats++)
		test_features(feats);
	test_dirty_log();
	test_hostile("another vCPU writes", run_scribble, rounds);
	test_hostile("memslot comes and goes", replug, rounds);
	test_hostile("pages come and go", reclaim, rounds);
	ksft_finished();
}
