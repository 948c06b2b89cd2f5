// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: a small hypervisor in L1 runs L2 and looks at every
 * way back.
 *
 * Expected values are those of the privileged specification, chapter "H"
 * Extension for Hypervisor Support.
 */
#include <sched.h>

#include "kvm_util.h"
#include "processor.h"
#include "nested.h"
#include "ucall_common.h"
#include "kselftest.h"

#define CAUSE_INST_ACCESS	1
#define CAUSE_ILLEGAL		2
#define CAUSE_BREAKPOINT	3
#define CAUSE_LOAD_MISALIGNED	4
#define CAUSE_LOAD_ACCESS	5
#define CAUSE_STORE_MISALIGNED	6
#define CAUSE_STORE_ACCESS	7
#define CAUSE_ECALL_U		8
#define CAUSE_ECALL_VS		10
#define CAUSE_INST_PAGE		12
#define CAUSE_LOAD_PAGE		13
#define CAUSE_STORE_PAGE	15
#define CAUSE_INST_GUEST_PAGE	20
#define CAUSE_LOAD_GUEST_PAGE	21
#define CAUSE_VIRTUAL_INSN	22
#define CAUSE_STORE_GUEST_PAGE	23
#define CAUSE_IRQ(__n)		(BIT(63) | (__n))

#define L2_VA			NESTED_L2_ADDR
#define MXR			BIT(19)
#define VS_IRQS			(BIT(2) | BIT(6) | BIT(10))

static struct nested_ctx ctx;
static u64 shared;

/* What the vCPU has, written by the host */
static u64 has_sstc, has_adue;

/* Ticks of the time CSR; the hosts of the tests have 10 MHz */
#define TIMER_TICKS		20000

static u64 now(void)
{
	return csr_read(CSR_TIME);
}

static void set_timer(u64 expiry)
{
	if (has_sstc)
		csr_write(CSR_STIMECMP, expiry);
	else
		sbi_ecall(0x54494d45, 0, expiry, 0, 0, 0, 0, 0);
}

enum { SYNC_NOTHING, SYNC_SET_EXT, SYNC_CLEAR_EXT };

/* By how much the device of L2 advances the clock */
#define CLOCK_STEP		(10000000UL * 4000)

#define csr(__n)		csr_read(__n)
#define csr_w(__n, __v)		csr_write(__n, __v)

/* The trap that a check expects, and what every trap from VS-mode has */
#define expect_exit(__cause)							\
do {										\
	GUEST_ASSERT_EQ(ctx.scause, __cause);					\
	GUEST_ASSERT_EQ(ctx.hstatus & (HSTATUS_SPV | HSTATUS_SPVP),		\
			HSTATUS_SPV | HSTATUS_SPVP);				\
	GUEST_ASSERT_EQ(ctx.sstatus & (SR_SPP | SR_SIE), SR_SPP);		\
} while (0)

static void expect_call(u64 arg)
{
	expect_exit(CAUSE_ECALL_VS);
	GUEST_ASSERT_EQ(ctx.x[10], arg);
	GUEST_ASSERT_EQ(ctx.hstatus & HSTATUS_GVA, 0);
	GUEST_ASSERT_EQ(ctx.stval, 0);
	GUEST_ASSERT_EQ(ctx.htval, 0);
}

static void resume(u64 ret)
{
	ctx.x[10] = ret;
	ctx.sepc += 4;
	nested_run(&ctx);
}

/* --- SBI-like calls ------------------------------------------------- */

static void l2_ecall(void)
{
	u64 i = 1;

	for (;;)
		i = nested_l2_call(i) + 1;
}

static void l1_ecall(void)
{
	int i;

	nested_init(&ctx, l2_ecall);
	nested_run(&ctx);
	expect_call(1);
	for (i = 0; i < 100; i++) {
		/* L1's own ecall keeps working in between */
		if (i == 50)
			GUEST_SYNC(0);
		resume(i * 7);
		expect_call(i * 7 + 1);
	}
	GUEST_DONE();
}

/* --- Virtual-instruction exceptions ---------------------------------- */

#define L2_INSN(__name, __insn)				\
static void l2_##__name(void)				\
{							\
	asm volatile(".option push\n.option norvc\n"	\
		     __insn "\n.option pop" ::: "t0", "memory");	\
	for (;;)					\
		nested_l2_call(0x600d);			\
}

L2_INSN(wfi, "wfi")
L2_INSN(sret, "sret")
L2_INSN(sfence, "sfence.vma")
L2_INSN(satp, "csrr t0, satp")
L2_INSN(hstatus, "csrr t0, 0x600")
L2_INSN(vsstatus, "csrw 0x200, x0")
L2_INSN(hfence, ".insn r 0x73, 0, 0x31, x0, x0, x0")
L2_INSN(hlv, ".insn r 0x73, 4, 0x34, x5, x2, x0")
L2_INSN(time, "rdtime t0")
L2_INSN(cycle, "rdcycle t0")
L2_INSN(illegal, ".4byte 0xffffffff")
L2_INSN(mstatus, "csrr t0, mstatus")
L2_INSN(hgeip_w, "csrw 0xe12, x0")

static void l1_virtual_insn(void)
{
	static const struct {
		void (*l2)(void);
		u64 hstatus;
		u64 hcounteren;
		u64 cause;
		u32 insn;
	} t[] = {
		{ l2_wfi,	HSTATUS_VTW,	0, CAUSE_VIRTUAL_INSN, 0x10500073 },
		{ l2_sret,	HSTATUS_VTSR,	0, CAUSE_VIRTUAL_INSN, 0x10200073 },
		{ l2_sfence,	HSTATUS_VTVM,	0, CAUSE_VIRTUAL_INSN, 0x12000073 },
		{ l2_sfence,	0,		0, CAUSE_ECALL_VS },
		{ l2_satp,	HSTATUS_VTVM,	0, CAUSE_VIRTUAL_INSN, 0x180022f3 },
		{ l2_satp,	0,		0, CAUSE_ECALL_VS },
		{ l2_hstatus,	0,		0, CAUSE_VIRTUAL_INSN, 0x600022f3 },
		{ l2_vsstatus,	0,		0, CAUSE_VIRTUAL_INSN, 0x20001073 },
		{ l2_hfence,	0,		0, CAUSE_VIRTUAL_INSN, 0x62000073 },
		{ l2_hlv,	0,		0, CAUSE_VIRTUAL_INSN, 0x680142f3 },
		{ l2_time,	0,		0, CAUSE_VIRTUAL_INSN, 0xc01022f3 },
		{ l2_time,	0,		2, CAUSE_ECALL_VS },
		{ l2_cycle,	0,		0, CAUSE_VIRTUAL_INSN, 0xc00022f3 },
		{ l2_illegal,	0,		0, CAUSE_ILLEGAL, 0xffffffff },
		{ l2_mstatus,	0,		0, CAUSE_ILLEGAL, 0x300022f3 },
		{ l2_hgeip_w,	0,		0, CAUSE_ILLEGAL, 0xe1201073 },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		nested_init(&ctx, t[i].l2);
		ctx.hstatus |= t[i].hstatus;
		csr_w(CSR_HCOUNTEREN, t[i].hcounteren);
		nested_run(&ctx);
		if (ctx.scause != t[i].cause)
			__GUEST_ASSERT(0, "case %d: scause %lx", i, ctx.scause);
		expect_exit(t[i].cause);
		GUEST_ASSERT_EQ(ctx.hstatus & HSTATUS_GVA, 0);
		/* stval is the instruction, or zero (12.1.9) */
		if (t[i].insn)
			GUEST_ASSERT(ctx.stval == t[i].insn || ctx.stval == 0);
		if (t[i].cause != CAUSE_ECALL_VS) {
			resume(0);
			expect_call(0x600d);
		}
	}
	csr_w(CSR_HCOUNTEREN, 0);
	GUEST_DONE();
}

/* --- Delegation ------------------------------------------------------- */

/* Handler of L2: tell L1 what it got */
asm(".option push\n"
	".option norvc\n"
	".balign 4\n"
	"l2_trap_entry:\n"
	"csrr a0, scause\n"
	"csrr a1, stval\n"
	"csrr a2, sepc\n"
	"1: ecall\n"
	"j 1b\n"
	".option pop\n");

extern char l2_trap_entry[];

static void l2_undelegated_then_delegated(void)
{
	csr_write(CSR_STVEC, l2_trap_entry);
	asm volatile(".4byte 0xffffffff");
	nested_l2_call(1);
	asm volatile(".4byte 0xffffffff");
	nested_l2_call(2);
}

static void l1_delegation(void)
{
	nested_init(&ctx, l2_undelegated_then_delegated);
	csr_w(CSR_HEDELEG, 0);
	nested_run(&ctx);
	expect_exit(CAUSE_ILLEGAL);

	csr_w(CSR_HEDELEG, BIT(CAUSE_ILLEGAL));
	resume(0);
	expect_call(1);
	resume(0);
	/* This is L2's handler */
	expect_exit(CAUSE_ECALL_VS);
	GUEST_ASSERT_EQ(ctx.x[10], CAUSE_ILLEGAL);
	GUEST_ASSERT(ctx.x[11] == 0xffffffff || ctx.x[11] == 0);
	GUEST_ASSERT_EQ(csr(CSR_VSCAUSE), CAUSE_ILLEGAL);
	GUEST_ASSERT_EQ(csr(CSR_VSEPC), ctx.x[12]);
	GUEST_ASSERT_EQ(csr(CSR_VSSTATUS) & SR_SPP, SR_SPP);
	csr_w(CSR_HEDELEG, 0);
	GUEST_DONE();
}

/* --- Every cause, delegated or not, from VS-mode and VU-mode ------------ */

/* One instruction each, so that sepc is known */
#define L2_STUB(__name, __insn)		\
	asm(".option push\n"		\
	    ".option norvc\n"		\
	    ".balign 4\n"		\
	    #__name ": " __insn "\n"	\
	    "j .\n"			\
	    ".option pop\n");		\
	extern char __name[]

L2_STUB(stub_illegal, ".4byte 0xffffffff");
L2_STUB(stub_ebreak, "ebreak");
L2_STUB(stub_ecall, "ecall");
L2_STUB(stub_load, "ld a1, 0(a0)");
L2_STUB(stub_store, "sd a1, 0(a0)");
L2_STUB(stub_jump, "jr a0");
L2_STUB(stub_lr, "lr.d a1, (a0)");
L2_STUB(stub_amo, "amoadd.d a1, a1, (a0)");
L2_STUB(stub_hstatus, "csrr a1, 0x600");

#define GIGA(__n)	((__n) * (1UL << 30))
#define VS_LEAF		(BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(6) | BIT(7))

/* Where things are in the address space of L2 with Sv39 */
#define VA_USER		GIGA(1)		/* the program once more, for VU-mode */
#define VA_NOTHING	GIGA(5)		/* no translation */
#define VA_NO_MEMORY	GIGA(6)		/* the page table is where L1 has no memory */
#define VA_NO_GSTAGE	GIGA(7)		/* it is where L1's G-stage has nothing */

#define GPA_NO_MEMORY	(L2_VA + 0x20000000)
#define GPA_NO_GSTAGE	(L2_VA + 0x30000000)

static u64 vs_root[512] __aligned(4096);

enum route_flags {
	VS = 1, VU = 2, BOTH = 3,
	PAGING = 4,	/* Sv39 in L2 */
	NEVER = 8,	/* hedeleg has no such bit */
	ADDR = 16,	/* stval is the address, GVA is set */
	FETCH = 32,	/* sepc is the address */
};

static const struct route {
	const char *name;
	char *stub;
	u64 cause;
	u64 addr;
	u32 flags;
	u64 htval;
	u64 htinst;
} routes[] = {
	{ "inst access", stub_jump, CAUSE_INST_ACCESS, VA_NO_MEMORY, BOTH | PAGING | ADDR | FETCH },
	{ "illegal", stub_illegal, CAUSE_ILLEGAL, 0, BOTH },
	{ "breakpoint", stub_ebreak, CAUSE_BREAKPOINT, 0, BOTH },
	{ "load misaligned", stub_lr, CAUSE_LOAD_MISALIGNED, (u64)vs_root + 1, BOTH | ADDR },
	{ "load access", stub_load, CAUSE_LOAD_ACCESS, VA_NO_MEMORY + 8, BOTH | PAGING | ADDR },
	{ "store misaligned", stub_amo, CAUSE_STORE_MISALIGNED, (u64)vs_root + 4095, BOTH | ADDR },
	{ "store access", stub_store, CAUSE_STORE_ACCESS, VA_NO_MEMORY + 16, BOTH | PAGING | ADDR },
	{ "ecall from VU", stub_ecall, CAUSE_ECALL_U, 0, VU },
	{ "ecall from VS", stub_ecall, CAUSE_ECALL_VS, 0, VS | NEVER },
	{ "inst page", stub_jump, CAUSE_INST_PAGE, VA_NOTHING, BOTH | PAGING | ADDR | FETCH },
	{ "load page", stub_load, CAUSE_LOAD_PAGE, VA_NOTHING + 8, BOTH | PAGING | ADDR },
	{ "store page", stub_store, CAUSE_STORE_PAGE, VA_NOTHING + 16, BOTH | PAGING | ADDR },
	{ "inst guest page", stub_jump, CAUSE_INST_GUEST_PAGE, GPA_NO_GSTAGE,
	  BOTH | NEVER | ADDR | FETCH, GPA_NO_GSTAGE >> 2 },
	{ "load guest page", stub_load, CAUSE_LOAD_GUEST_PAGE, GPA_NO_GSTAGE + 8,
	  BOTH | NEVER | ADDR, (GPA_NO_GSTAGE + 8) >> 2 },
	{ "store guest page", stub_store, CAUSE_STORE_GUEST_PAGE, GPA_NO_GSTAGE + 16,
	  BOTH | NEVER | ADDR, (GPA_NO_GSTAGE + 16) >> 2 },
	/* A page table that the G-stage does not map, see 15.6.3 for htinst */
	{ "implicit fetch", stub_jump, CAUSE_INST_GUEST_PAGE, VA_NO_GSTAGE,
	  BOTH | PAGING | NEVER | ADDR | FETCH, GPA_NO_GSTAGE >> 2, 0x3000 },
	{ "implicit load", stub_load, CAUSE_LOAD_GUEST_PAGE, VA_NO_GSTAGE + 8,
	  BOTH | PAGING | NEVER | ADDR, GPA_NO_GSTAGE >> 2, 0x3000 },
	{ "implicit store", stub_store, CAUSE_STORE_GUEST_PAGE, VA_NO_GSTAGE + 16,
	  BOTH | PAGING | NEVER | ADDR, GPA_NO_GSTAGE >> 2, 0x3000 },
	{ "virtual instruction", stub_hstatus, CAUSE_VIRTUAL_INSN, 0, BOTH | NEVER },
};

#define route_check(__cond, __val)						\
	__GUEST_ASSERT(__cond, "%s from %s, hedeleg %lx: " #__cond ", %lx",	\
		       r->name, mode == VS ? "VS" : "VU", deleg, (u64)(__val))

static void check_route(const struct route *r, u32 mode, u64 deleg)
{
	u64 spp = mode == VS ? SR_SPP : 0, pc, epc;

	nested_init(&ctx, NULL);
	csr_w(CSR_VSTVEC, l2_trap_entry);
	csr_w(CSR_VSATP, r->flags & PAGING ? 8UL << 60 | (u64)vs_root >> 12 : 0);
	csr_w(CSR_VSSTATUS, 0);
	csr_w(CSR_HEDELEG, deleg);
	nested_hfence_vvma();

	pc = (u64)r->stub;
	if (r->flags & PAGING && mode == VU)
		pc += VA_USER;
	epc = r->flags & FETCH ? r->addr : pc;
	ctx.sepc = pc;
	ctx.x[10] = r->addr;
	ctx.sstatus = (ctx.sstatus & ~SR_SPP) | spp;
	nested_run(&ctx);

	if (deleg && !(r->flags & NEVER)) {
		route_check(ctx.scause == CAUSE_ECALL_VS, ctx.scause);
		route_check(ctx.x[10] == r->cause, ctx.x[10]);
		if (r->flags & ADDR)
			route_check(ctx.x[11] == r->addr, ctx.x[11]);
		route_check(ctx.x[12] == epc, ctx.x[12]);
		route_check((csr(CSR_VSSTATUS) & SR_SPP) == spp, csr(CSR_VSSTATUS));
		return;
	}

	route_check(ctx.scause == r->cause, ctx.scause);
	route_check(ctx.sepc == epc, ctx.sepc);
	route_check(ctx.hstatus & HSTATUS_SPV, ctx.hstatus);
	route_check(!!(ctx.hstatus & HSTATUS_SPVP) == !!spp, ctx.hstatus);
	route_check((ctx.sstatus & (SR_SPP | SR_SIE)) == spp, ctx.sstatus);
	route_check(ctx.htval == r->htval, ctx.htval);
	/* For loads and stores it may also be the transformed instruction */
	if (r->htinst || !(r->flags & ADDR) || r->flags & FETCH)
		route_check(ctx.htinst == r->htinst, ctx.htinst);
	if (r->flags & ADDR) {
		route_check(ctx.stval == r->addr, ctx.stval);
		route_check(ctx.hstatus & HSTATUS_GVA, ctx.hstatus);
	} else if (r->cause != CAUSE_BREAKPOINT) {
		route_check(!(ctx.hstatus & HSTATUS_GVA), ctx.hstatus);
	}
}

static void l1_routing(void)
{
	int i, mode, deleg;

	vs_root[0] = 0 >> 12 << 10 | VS_LEAF;
	vs_root[1] = 0 >> 12 << 10 | VS_LEAF | BIT(4);
	vs_root[6] = GPA_NO_MEMORY >> 12 << 10 | BIT(0);
	vs_root[7] = GPA_NO_GSTAGE >> 12 << 10 | BIT(0);
	nested_map(&nested_pgt, GPA_NO_MEMORY, NESTED_MMIO_GPA, 0, NESTED_PTE_RWX);

	for (i = 0; i < ARRAY_SIZE(routes); i++) {
		for (mode = VS; mode <= VU; mode++) {
			if (!(routes[i].flags & mode))
				continue;
			for (deleg = 0; deleg < 2; deleg++)
				check_route(&routes[i], mode, deleg ? ~0UL : 0);
		}
	}
	csr_w(CSR_HEDELEG, 0);
	csr_w(CSR_VSATP, 0);
	GUEST_DONE();
}

/* --- VU-mode ----------------------------------------------------------- */

static void l2_to_user(void)
{
	asm volatile(".option push\n.option norvc\n"
		     "la t0, 1f\n"
		     "csrw sepc, t0\n"
		     "li t0, 0x100\n"
		     "csrc sstatus, t0\n"
		     "sret\n"
		     "1: li a0, 0x55\n"
		     "ecall\n"
		     "wfi\n"
		     "j 1b\n"
		     ".option pop" ::: "t0", "a0");
}

static void l1_user(void)
{
	nested_init(&ctx, l2_to_user);
	nested_run(&ctx);
	/* ecall from VU-mode has the same cause as from U-mode */
	GUEST_ASSERT_EQ(ctx.scause, CAUSE_ECALL_U);
	GUEST_ASSERT_EQ(ctx.hstatus & (HSTATUS_SPV | HSTATUS_SPVP), HSTATUS_SPV);
	GUEST_ASSERT_EQ(ctx.sstatus & SR_SPP, 0);
	GUEST_ASSERT_EQ(ctx.x[10], 0x55);
	/* WFI of VU-mode is L1's even without VTW */
	resume(0);
	GUEST_ASSERT_EQ(ctx.scause, CAUSE_VIRTUAL_INSN);
	GUEST_ASSERT_EQ(ctx.hstatus & (HSTATUS_SPV | HSTATUS_SPVP), HSTATUS_SPV);
	GUEST_DONE();
}

/* --- Guest-page faults ------------------------------------------------- */

static void l2_touch(void)
{
	u64 *p;

	/* 1: load, 2: store, 3: fetch; all of address x[12] */
	for (;;) {
		u64 what = nested_l2_call(0);

		p = (u64 *)READ_ONCE(shared);
		switch (what) {
		case 1:
			nested_l2_call(READ_ONCE(*p));
			break;
		case 2:
			WRITE_ONCE(*p, 0x5a5a);
			nested_l2_call(2);
			break;
		case 3:
			((void (*)(void))p)();
			nested_l2_call(3);
			break;
		}
	}
}

static void touch(u64 what, u64 addr)
{
	expect_call(0);
	WRITE_ONCE(shared, addr);
	resume(what);
}

static void expect_gpf(u64 cause, u64 addr)
{
	expect_exit(cause);
	GUEST_ASSERT_EQ(ctx.hstatus & HSTATUS_GVA, HSTATUS_GVA);
	GUEST_ASSERT_EQ(ctx.stval, addr);
	/* htval may also be zero (15.4.4), but KVM always reports it */
	GUEST_ASSERT_EQ(ctx.htval, addr >> 2);
}

static void l1_gstage_fault(void)
{
	u64 *mem = (u64 *)NESTED_L2_ADDR;
	u64 a = L2_VA + 0x1000 + 8;
	u64 *pte;

	WRITE_ONCE(mem[(0x1000 + 8) / 8], 0x1234);
	/* c.jr ra, or ret */
	WRITE_ONCE(mem[0x2000 / 8], 0x8082);

	nested_init(&ctx, l2_touch);
	nested_run(&ctx);

	/* Nothing mapped */
	touch(1, a);
	expect_gpf(CAUSE_LOAD_GUEST_PAGE, a);
	/* Mapping it needs no fence, for it was not valid before */
	pte = nested_map(&nested_pgt, a & ~0xfffUL, NESTED_TEST_GPA + 0x1000, 0,
			 NESTED_PTE_RWX & ~(NESTED_PTE_W | NESTED_PTE_X));
	nested_run(&ctx);
	expect_call(0x1234);
	resume(0);

	/* Read-only */
	touch(2, a);
	expect_gpf(CAUSE_STORE_GUEST_PAGE, a);
	*pte |= NESTED_PTE_W;
	nested_hfence_gvma();
	nested_run(&ctx);
	expect_call(2);
	GUEST_ASSERT_EQ(READ_ONCE(mem[(0x1000 + 8) / 8]), 0x5a5a);
	resume(0);

	/* Not executable */
	pte = nested_map(&nested_pgt, L2_VA + 0x2000, NESTED_TEST_GPA + 0x2000, 0,
			 NESTED_PTE_RWX & ~NESTED_PTE_X);
	touch(3, L2_VA + 0x2000);
	expect_gpf(CAUSE_INST_GUEST_PAGE, L2_VA + 0x2000);
	*pte |= NESTED_PTE_X;
	nested_hfence_gvma();
	nested_run(&ctx);
	expect_call(3);
	resume(0);

	/* Execute-only can be executed but not read */
	*pte = (*pte & ~(NESTED_PTE_R | NESTED_PTE_W)) | NESTED_PTE_X;
	nested_hfence_gvma();
	touch(3, L2_VA + 0x2000);
	expect_call(3);
	resume(0);
	touch(1, L2_VA + 0x2000);
	expect_gpf(CAUSE_LOAD_GUEST_PAGE, L2_VA + 0x2000);
	*pte |= NESTED_PTE_R;
	nested_hfence_gvma();
	nested_run(&ctx);
	expect_call(0x8082);
	resume(0);

	/* A leaf of G-stage without U does not translate */
	*pte &= ~NESTED_PTE_U;
	nested_hfence_gvma();
	touch(1, L2_VA + 0x2000);
	expect_gpf(CAUSE_LOAD_GUEST_PAGE, L2_VA + 0x2000);
	*pte |= NESTED_PTE_U;

	/* Nor does one with W but not R, */
	*pte = (*pte & ~(NESTED_PTE_R | NESTED_PTE_X)) | NESTED_PTE_W;
	nested_hfence_gvma();
	nested_run(&ctx);
	expect_gpf(CAUSE_LOAD_GUEST_PAGE, L2_VA + 0x2000);
	/* one with reserved bits, */
	*pte |= NESTED_PTE_R | BIT(57);
	nested_hfence_gvma();
	nested_run(&ctx);
	expect_gpf(CAUSE_LOAD_GUEST_PAGE, L2_VA + 0x2000);
	*pte &= ~BIT(57);

	/* or a misaligned superpage */
	pte = nested_map(&nested_pgt, L2_VA + 0x400000, NESTED_TEST_GPA + 0x1000, 1,
			 NESTED_PTE_RWX);
	nested_hfence_gvma();
	nested_run(&ctx);
	expect_call(0x8082);
	resume(0);
	touch(1, L2_VA + 0x400000);
	expect_gpf(CAUSE_LOAD_GUEST_PAGE, L2_VA + 0x400000);

	GUEST_DONE();
}

/* A and D: clear bits are a fault, or set with Svadu enabled (12.3.1) */
static void l1_gstage_ad(void)
{
	u64 *pte;

	nested_init(&ctx, l2_touch);
	pte = nested_map(&nested_pgt, L2_VA, NESTED_TEST_GPA, 0,
			 NESTED_PTE_RWX & ~(NESTED_PTE_A | NESTED_PTE_D));
	nested_run(&ctx);
	if (has_adue) {
		touch(1, L2_VA);
		expect_exit(CAUSE_ECALL_VS);
		GUEST_ASSERT_EQ(*pte & (NESTED_PTE_A | NESTED_PTE_D), NESTED_PTE_A);
		resume(0);
		touch(2, L2_VA);
		expect_call(2);
		GUEST_ASSERT_EQ(*pte & (NESTED_PTE_A | NESTED_PTE_D),
				NESTED_PTE_A | NESTED_PTE_D);
		GUEST_DONE();
	}

	touch(1, L2_VA);
	expect_gpf(CAUSE_LOAD_GUEST_PAGE, L2_VA);
	*pte |= NESTED_PTE_A;
	nested_run(&ctx);
	expect_exit(CAUSE_ECALL_VS);
	resume(0);
	touch(2, L2_VA);
	expect_gpf(CAUSE_STORE_GUEST_PAGE, L2_VA);
	*pte |= NESTED_PTE_D;
	nested_run(&ctx);
	expect_call(2);
	GUEST_DONE();
}

/* Addresses beyond Sv39x4, and pages where L1 has no memory */
static void l1_gstage_beyond(void)
{
	nested_init(&ctx, l2_touch);
	nested_run(&ctx);
	touch(1, BIT(41));
	expect_gpf(CAUSE_LOAD_GUEST_PAGE, BIT(41));
	GUEST_DONE();
}

/* --- HFENCE ------------------------------------------------------------ */

static void l1_hfence(void)
{
	u64 *mem = (u64 *)NESTED_L2_ADDR, *pte;
	int i;

	nested_init(&ctx, l2_touch);
	for (i = 0; i < 4; i++)
		mem[i * 512] = 0x100 + i;
	pte = nested_map(&nested_pgt, L2_VA, NESTED_TEST_GPA, 0, NESTED_PTE_RWX);
	nested_run(&ctx);
	for (i = 0; i < 4; i++) {
		*pte = (NESTED_TEST_GPA + i * 4096) >> 12 << 10 | NESTED_PTE_RWX;
		switch (i) {
		case 0:
		case 1:
			nested_hfence_gvma();
			break;
		case 2:
			nested_hfence_gvma_addr(L2_VA);
			break;
		case 3:
			/* By VMID; nested_init() uses number 1 */
			asm volatile(".insn r 0x73, 0, 0x31, x0, x0, %0" :: "r" (1));
			break;
		}
		touch(1, L2_VA);
		expect_call(0x100 + i);
		resume(0);
	}

	/* Unmapping works, too */
	*pte = 0;
	nested_hfence_gvma_addr(L2_VA);
	touch(1, L2_VA);
	expect_gpf(CAUSE_LOAD_GUEST_PAGE, L2_VA);
	GUEST_DONE();
}

/* One fence for an address is good for the whole superpage of L1 */
static void l1_hfence_superpage(void)
{
	u64 *mem = (u64 *)NESTED_L2_ADDR, *pte;
	int i;

	nested_init(&ctx, l2_touch);
	for (i = 0; i < 2; i++) {
		mem[i * 0x200000 / 8] = 0x100 + i;
		mem[(i * 0x200000 + 0x5000) / 8] = 0x200 + i;
		mem[(i * 0x200000 + 0x1ff000) / 8] = 0x300 + i;
	}
	pte = nested_map(&nested_pgt, L2_VA, NESTED_TEST_GPA, 1, NESTED_PTE_RWX);
	nested_run(&ctx);
	for (i = 0; i < 2; i++) {
		*pte = (NESTED_TEST_GPA + i * 0x200000) >> 12 << 10 | NESTED_PTE_RWX;
		nested_hfence_gvma_addr(L2_VA + 0x3000);
		touch(1, L2_VA);
		expect_call(0x100 + i);
		resume(0);
		touch(1, L2_VA + 0x5000);
		expect_call(0x200 + i);
		resume(0);
		touch(1, L2_VA + 0x1ff000);
		expect_call(0x300 + i);
		resume(0);
	}
	GUEST_DONE();
}

/* The hypervisor fences of SBI RFENCE; a size of -1 is everything */
static void l1_rfence(void)
{
	static const struct {
		u64 fid, start, size, arg;
	} t[] = {
		{ 3, L2_VA, 4096, 1 },			/* HFENCE.GVMA by VMID */
		{ 4, L2_VA, 4096 },			/* HFENCE.GVMA */
		{ 4, L2_VA + 8, 1 },
		{ 4, 0, 0 },
		{ 4, 0, -1UL },
		{ 4, L2_VA + 0x100000, -1UL },
		{ 3, L2_VA + 0x100000, -1UL, 1 },
		{ 4, L2_VA - 4096, 0x8000 },
		{ 4, L2_VA - 1, -L2_VA },
		{ 4, L2_VA - 1, -L2_VA + 2 },
	};
	u64 *mem = (u64 *)NESTED_L2_ADDR, *pte;
	int i;

	nested_init(&ctx, l2_touch);
	pte = nested_map(&nested_pgt, L2_VA, NESTED_TEST_GPA, 0, NESTED_PTE_RWX);
	mem[0] = 0xffff;
	nested_run(&ctx);
	touch(1, L2_VA);
	expect_call(0xffff);
	resume(0);
	for (i = 0; i < ARRAY_SIZE(t); i++) {
		mem[(i + 1) * 512] = 0x100 + i;
		*pte = (NESTED_TEST_GPA + (i + 1) * 4096) >> 12 << 10 | NESTED_PTE_RWX;
		GUEST_ASSERT_EQ(sbi_ecall(0x52464e43, t[i].fid, 0, -1UL, t[i].start,
					  t[i].size, t[i].arg, 0).error, 0);
		touch(1, L2_VA);
		expect_call(0x100 + i);
		resume(0);
	}
	GUEST_DONE();
}

/* Many hgatps, more than KVM keeps shadows for */
static void l1_many_vmids(void)
{
	u64 *mem = (u64 *)NESTED_L2_ADDR, *pte;
	int i, round;

	nested_init(&ctx, l2_touch);
	mem[0] = 0x77;
	pte = nested_map(&nested_pgt, L2_VA, NESTED_TEST_GPA, 0, NESTED_PTE_RWX);
	nested_run(&ctx);
	for (round = 0; round < 3; round++) {
		for (i = 1; i < 40; i++) {
			csr_w(CSR_HGATP, nested_hgatp(i));
			touch(1, L2_VA);
			expect_call(0x77);
			resume(0);
		}
	}
	*pte = 0;
	nested_hfence_gvma();
	for (i = 1; i < 40; i++) {
		csr_w(CSR_HGATP, nested_hgatp(i));
		if (i == 1)
			touch(1, L2_VA);
		else
			nested_run(&ctx);
		expect_gpf(CAUSE_LOAD_GUEST_PAGE, L2_VA);
	}
	GUEST_DONE();
}

/* --- HLV, HLVX, HSV ------------------------------------------------------ */

static u64 trap_cause, trap_val, trap_htval, trap_hstatus;

static void l1_trap(struct pt_regs *regs)
{
	WRITE_ONCE(trap_cause, regs->cause);
	WRITE_ONCE(trap_val, regs->badaddr);
	WRITE_ONCE(trap_htval, csr_read(CSR_HTVAL));
	WRITE_ONCE(trap_hstatus, csr_read(CSR_HSTATUS));
	regs->epc += 4;
}

#define hlv(__f7, __rs2, __addr)					\
({									\
	u64 __v = 0xdead;						\
	WRITE_ONCE(trap_cause, -1);					\
	asm volatile(".insn r 0x73, 4, " #__f7 ", %0, %1, x" #__rs2	\
		     : "+r" (__v) : "r" (__addr) : "memory");		\
	__v;								\
})

#define hsv(__f7, __addr, __val)					\
do {									\
	WRITE_ONCE(trap_cause, -1);					\
	asm volatile(".insn r 0x73, 4, " #__f7 ", x0, %0, %1"		\
		     :: "r" (__addr), "r" (__val) : "memory");		\
} while (0)

static void l1_hlv(void)
{
	u64 *mem = (u64 *)NESTED_L2_ADDR;
	u64 *pte;

	nested_init(&ctx, l2_touch);
	csr_w(CSR_VSATP, 0);
	csr_w(CSR_HSTATUS, HSTATUS_SPVP);
	WRITE_ONCE(mem[0], 0xfedcba9876543210UL | 0x8080808080808080UL);
	pte = nested_map(&nested_pgt, L2_VA, NESTED_TEST_GPA, 0,
			 NESTED_PTE_RWX & ~NESTED_PTE_X);

	GUEST_ASSERT_EQ(hlv(0x30, 0, L2_VA), 0xffffffffffffff90UL);
	GUEST_ASSERT_EQ(hlv(0x30, 1, L2_VA), 0x90UL);
	GUEST_ASSERT_EQ(hlv(0x32, 0, L2_VA), 0xffffffffffffb290UL);
	GUEST_ASSERT_EQ(hlv(0x32, 1, L2_VA), 0xb290UL);
	GUEST_ASSERT_EQ(hlv(0x34, 0, L2_VA), 0xfffffffff6d4b290UL);
	GUEST_ASSERT_EQ(hlv(0x34, 1, L2_VA), 0xf6d4b290UL);
	GUEST_ASSERT_EQ(hlv(0x36, 0, L2_VA), 0xfedcba98f6d4b290UL);
	GUEST_ASSERT_EQ(READ_ONCE(trap_cause), -1UL);

	/* HLVX needs X and does with it */
	hlv(0x32, 3, L2_VA);
	GUEST_ASSERT_EQ(READ_ONCE(trap_cause), CAUSE_LOAD_GUEST_PAGE);
	GUEST_ASSERT_EQ(READ_ONCE(trap_val), L2_VA);
	GUEST_ASSERT_EQ(READ_ONCE(trap_htval), L2_VA >> 2);
	GUEST_ASSERT_EQ(READ_ONCE(trap_hstatus) & (HSTATUS_GVA | HSTATUS_SPV), HSTATUS_GVA);
	*pte = (*pte & ~(NESTED_PTE_R | NESTED_PTE_W)) | NESTED_PTE_X;
	nested_hfence_gvma();
	GUEST_ASSERT_EQ(hlv(0x32, 3, L2_VA), 0xb290UL);
	GUEST_ASSERT_EQ(hlv(0x34, 3, L2_VA), 0xf6d4b290UL);
	GUEST_ASSERT_EQ(READ_ONCE(trap_cause), -1UL);
	hlv(0x34, 0, L2_VA);
	GUEST_ASSERT_EQ(READ_ONCE(trap_cause), CAUSE_LOAD_GUEST_PAGE);
	/* unless L1 makes executable pages readable; L2's MXR is not enough */
	csr_w(CSR_VSSTATUS, MXR);
	hlv(0x34, 0, L2_VA);
	GUEST_ASSERT_EQ(READ_ONCE(trap_cause), CAUSE_LOAD_GUEST_PAGE);
	csr_w(CSR_VSSTATUS, 0);
	csr_set(CSR_SSTATUS, MXR);
	GUEST_ASSERT_EQ(hlv(0x34, 1, L2_VA), 0xf6d4b290UL);
	GUEST_ASSERT_EQ(READ_ONCE(trap_cause), -1UL);
	csr_clear(CSR_SSTATUS, MXR);
	hlv(0x34, 0, L2_VA);
	GUEST_ASSERT_EQ(READ_ONCE(trap_cause), CAUSE_LOAD_GUEST_PAGE);

	*pte |= NESTED_PTE_R | NESTED_PTE_W;
	nested_hfence_gvma();
	WRITE_ONCE(mem[0], 0);
	hsv(0x31, L2_VA, 0x11UL);
	GUEST_ASSERT_EQ(READ_ONCE(mem[0]), 0x11UL);
	hsv(0x33, L2_VA, 0x2222UL);
	GUEST_ASSERT_EQ(READ_ONCE(mem[0]), 0x2222UL);
	hsv(0x35, L2_VA, 0x33333333UL);
	GUEST_ASSERT_EQ(READ_ONCE(mem[0]), 0x33333333UL);
	hsv(0x37, L2_VA, 0x4444444444444444UL);
	GUEST_ASSERT_EQ(READ_ONCE(mem[0]), 0x4444444444444444UL);
	GUEST_ASSERT_EQ(READ_ONCE(trap_cause), -1UL);

	*pte &= ~NESTED_PTE_W;
	nested_hfence_gvma();
	hsv(0x35, L2_VA, 0UL);
	GUEST_ASSERT_EQ(READ_ONCE(trap_cause), CAUSE_STORE_GUEST_PAGE);
	GUEST_ASSERT_EQ(READ_ONCE(trap_hstatus) & HSTATUS_GVA, HSTATUS_GVA);
	GUEST_ASSERT_EQ(READ_ONCE(mem[0]), 0x4444444444444444UL);
	GUEST_DONE();
}

/* --- Interrupts ------------------------------------------------------------ */

static void l2_spin(void)
{
	for (;;)
		cpu_relax();
}

static void l2_wait_irq(void)
{
	csr_write(CSR_STVEC, l2_trap_entry);
	csr_set(CSR_SIE, BIT(1) | BIT(5) | BIT(9));
	csr_set(CSR_SSTATUS, SR_SIE);
	nested_l2_call(1);
	for (;;)
		cpu_relax();
}

static void l1_inject(void)
{
	static const u64 irq[] = { 2, 6, 10 };
	int i;

	for (i = 0; i < ARRAY_SIZE(irq); i++) {
		nested_init(&ctx, l2_wait_irq);
		csr_w(CSR_VSSTATUS, 0);
		csr_w(CSR_HVIP, 0);
		csr_w(CSR_HIDELEG, VS_IRQS);
		nested_run(&ctx);
		expect_call(1);
		GUEST_ASSERT_EQ(csr(CSR_VSIE), BIT(1) | BIT(5) | BIT(9));
		GUEST_ASSERT_EQ(csr(CSR_HIE) & VS_IRQS, VS_IRQS);
		csr_w(CSR_HVIP, BIT(irq[i]));
		resume(0);
		/* From L2's handler; VS numbers are one less */
		expect_exit(CAUSE_ECALL_VS);
		GUEST_ASSERT_EQ(ctx.x[10], CAUSE_IRQ(irq[i] - 1));
		GUEST_ASSERT_EQ(csr(CSR_VSIP), BIT(irq[i] - 1));
	}
	csr_w(CSR_HVIP, 0);
	csr_w(CSR_HIE, 0);
	GUEST_DONE();
}

static void l2_clear_ssip(void)
{
	nested_l2_call(csr_read(CSR_SIP));
	csr_clear(CSR_SIP, BIT(1));
	nested_l2_call(csr_read(CSR_SIP));
	csr_set(CSR_SIP, BIT(1));
	nested_l2_call(csr_read(CSR_SIP));
}

static void l1_ssip(void)
{
	nested_init(&ctx, l2_clear_ssip);
	csr_w(CSR_HIDELEG, VS_IRQS);
	csr_w(CSR_HVIP, BIT(2) | BIT(10));
	nested_run(&ctx);
	expect_call(BIT(1) | BIT(9));
	resume(0);
	expect_call(BIT(9));
	GUEST_ASSERT_EQ(csr(CSR_HVIP), BIT(10));
	resume(0);
	expect_call(BIT(1) | BIT(9));
	GUEST_ASSERT_EQ(csr(CSR_HVIP), BIT(2) | BIT(10));
	csr_w(CSR_HVIP, 0);
	GUEST_DONE();
}

/* An interrupt of VS level that L1 does not delegate is L1's */
static void l1_undelegated_irq(void)
{
	nested_init(&ctx, l2_wait_irq);
	csr_w(CSR_VSSTATUS, 0);
	csr_w(CSR_HIDELEG, 0);
	csr_w(CSR_HVIP, 0);
	csr_w(CSR_HIE, BIT(10));
	nested_run(&ctx);
	expect_call(1);
	GUEST_ASSERT_EQ(csr(CSR_VSIE), 0);
	csr_w(CSR_HVIP, BIT(10));
	resume(0);
	expect_exit(CAUSE_IRQ(10));
	csr_w(CSR_HVIP, 0);
	csr_w(CSR_HIE, 0);
	csr_w(CSR_HIDELEG, VS_IRQS);
	GUEST_DONE();
}

static void l2_wfi_loop(void)
{
	for (;;)
		asm volatile("wfi");
}

/* Interrupts of S level while L2 runs: L1 takes them whatever its SIE says */
static void l1_own_irqs(void)
{
	/* Software: L1 to itself */
	nested_init(&ctx, l2_spin);
	ctx.sstatus &= ~SR_SPIE;
	csr_set(CSR_SIE, BIT(1));
	csr_set(CSR_SIP, BIT(1));
	nested_run(&ctx);
	expect_exit(CAUSE_IRQ(1));
	/* It stays pending, so L2 does not get a step further */
	nested_run(&ctx);
	expect_exit(CAUSE_IRQ(1));
	GUEST_ASSERT_EQ(ctx.sepc, (u64)l2_spin);
	csr_clear(CSR_SIP, BIT(1));

	/* External, from userspace. It has priority over software */
	csr_set(CSR_SIE, BIT(9));
	GUEST_SYNC(SYNC_SET_EXT);
	csr_set(CSR_SIP, BIT(1));
	nested_run(&ctx);
	expect_exit(CAUSE_IRQ(9));
	csr_clear(CSR_SIP, BIT(1));
	GUEST_SYNC(SYNC_CLEAR_EXT);

	/* Pending but not enabled does not count */
	csr_clear(CSR_SIE, BIT(1) | BIT(9));
	csr_set(CSR_SIP, BIT(1));
	nested_init(&ctx, l2_ecall);
	nested_run(&ctx);
	expect_call(1);
	csr_clear(CSR_SIP, BIT(1));
	GUEST_DONE();
}

/* Of several, L1 gets external, software, timer in this order (15.4.1) */
static void l1_priority(void)
{
	static const u64 order[] = { 10, 2, 6 };
	u64 pending = VS_IRQS;
	int i;

	nested_init(&ctx, l2_spin);
	csr_w(CSR_HIDELEG, 0);
	csr_w(CSR_HIE, VS_IRQS);
	for (i = 0; i < ARRAY_SIZE(order); i++) {
		csr_w(CSR_HVIP, pending);
		/* Those of S level come before all of these */
		csr_set(CSR_SIE, BIT(1));
		csr_set(CSR_SIP, BIT(1));
		nested_run(&ctx);
		expect_exit(CAUSE_IRQ(1));
		csr_clear(CSR_SIP, BIT(1));
		nested_run(&ctx);
		expect_exit(CAUSE_IRQ(order[i]));
		pending &= ~BIT(order[i]);
	}
	csr_clear(CSR_SIE, BIT(1));
	csr_w(CSR_HVIP, 0);
	csr_w(CSR_HIE, 0);
	GUEST_DONE();
}

static u64 irq_cause, irq_count, irq_hstatus;

static void l1_irq(struct pt_regs *regs)
{
	WRITE_ONCE(irq_cause, regs->cause);
	WRITE_ONCE(irq_hstatus, csr_read(CSR_HSTATUS));
	WRITE_ONCE(irq_count, READ_ONCE(irq_count) + 1);
	csr_w(CSR_HVIP, 0);
	if (has_sstc)
		csr_w(CSR_VSTIMECMP, -1UL);
}

static void wait_irq(u64 count)
{
	u64 end = now() + 200 * TIMER_TICKS;

	while (READ_ONCE(irq_count) != count)
		GUEST_ASSERT(now() < end);
}

/* The vectored handler says which entry was used, in t6 */
asm(".option push\n"
	".option norvc\n"
	".balign 64\n"
	"l1_vectors:\n"
	".rept 16\n"
	"jal t6, l1_vectored\n"
	".endr\n"
	"l1_vectored:\n"
	"csrw 0x645, x0\n"
	"sret\n"
	".option pop\n");

extern char l1_vectors[];

/* Interrupts of VS level that L1 does not delegate, while L1 itself runs */
static void l1_undelegated_v0(void)
{
	static const u64 irq[] = { 2, 6, 10 };
	u64 i, stvec, entry;

	csr_w(CSR_HIDELEG, 0);
	for (i = 0; i < ARRAY_SIZE(irq); i++) {
		/* Neither without SIE nor without hie, */
		WRITE_ONCE(irq_count, 0);
		csr_clear(CSR_SSTATUS, SR_SIE);
		csr_w(CSR_HIE, BIT(irq[i]));
		csr_w(CSR_HVIP, BIT(irq[i]));
		csr_w(CSR_HTVAL, 0);
		GUEST_ASSERT_EQ(READ_ONCE(irq_count), 0);
		csr_w(CSR_HIE, 0);
		csr_set(CSR_SSTATUS, SR_SIE);
		csr_w(CSR_HTVAL, 0);
		GUEST_ASSERT_EQ(READ_ONCE(irq_count), 0);
		/* nor if it is delegated, */
		csr_w(CSR_HIDELEG, BIT(irq[i]));
		csr_w(CSR_HIE, BIT(irq[i]));
		csr_w(CSR_HTVAL, 0);
		GUEST_ASSERT_EQ(READ_ONCE(irq_count), 0);
		/* but then */
		csr_w(CSR_HIDELEG, 0);
		wait_irq(1);
		GUEST_ASSERT_EQ(READ_ONCE(irq_cause), CAUSE_IRQ(irq[i]));
		GUEST_ASSERT_EQ(READ_ONCE(irq_hstatus) & HSTATUS_SPV, 0);

		/* Also if nothing but SIE changes */
		csr_clear(CSR_SSTATUS, SR_SIE);
		csr_w(CSR_HVIP, BIT(irq[i]));
		csr_set(CSR_SSTATUS, SR_SIE);
		wait_irq(2);

		/* and vectored */
		csr_clear(CSR_SSTATUS, SR_SIE);
		stvec = csr_read(CSR_STVEC);
		csr_write(CSR_STVEC, (u64)l1_vectors | 1);
		csr_w(CSR_HVIP, BIT(irq[i]));
		asm volatile("li t6, 0\n"
			     "csrsi sstatus, 2\n"
			     "1: beqz t6, 1b\n"
			     "mv %0, t6\n" : "=r" (entry) :: "t6", "memory");
		csr_write(CSR_STVEC, stvec);
		GUEST_ASSERT_EQ(entry - 4 - (u64)l1_vectors, 4 * irq[i]);
		csr_w(CSR_HIE, 0);
	}
	GUEST_DONE();
}

/* The timer of L1 ends L2, also while L1 has interrupts off, spinning or not */
static void l1_timer(void)
{
	void (*l2[])(void) = { l2_spin, l2_wfi_loop };
	u64 expiry;
	int i;

	csr_set(CSR_SIE, BIT(5));
	for (i = 0; i < ARRAY_SIZE(l2); i++) {
		nested_init(&ctx, l2[i]);
		ctx.sstatus &= ~SR_SPIE;
		expiry = now() + TIMER_TICKS;
		set_timer(expiry);
		nested_run(&ctx);
		expect_exit(CAUSE_IRQ(5));
		GUEST_ASSERT(now() >= expiry);
		set_timer(-1UL);
	}
	csr_clear(CSR_SIE, BIT(5));
	GUEST_DONE();
}

static void l2_timer(void)
{
	csr_write(CSR_STVEC, l2_trap_entry);
	csr_set(CSR_SIE, BIT(5));
	csr_write(CSR_STIMECMP, csr_read(CSR_TIME) + TIMER_TICKS);
	nested_l2_call(csr_read(CSR_TIME));
	csr_set(CSR_SSTATUS, SR_SIE);
	for (;;)
		asm volatile("wfi");
}

/* The timer of L2 reaches L2, and its time is what L1 says */
static void l1_l2_timer(void)
{
	u64 before, after, l2_time, delta = 1UL << 40;

	nested_init(&ctx, l2_timer);
	csr_w(CSR_VSSTATUS, 0);
	csr_w(CSR_HIDELEG, VS_IRQS);
	csr_w(CSR_HTIMEDELTA, delta);
	csr_w(CSR_HCOUNTEREN, 2);
	csr_w(CSR_HENVCFG, ENVCFG_STCE);
	GUEST_ASSERT_EQ(csr(CSR_HENVCFG), ENVCFG_STCE);
	csr_w(CSR_VSTIMECMP, -1UL);

	before = now();
	nested_run(&ctx);
	after = now();
	expect_exit(CAUSE_ECALL_VS);
	l2_time = ctx.x[10];
	GUEST_ASSERT(l2_time >= before + delta && l2_time <= after + delta);
	/* L1 sees what L2 programmed, and did not lose its own */
	GUEST_ASSERT(csr(CSR_VSTIMECMP) > delta);
	GUEST_ASSERT_EQ(csr(CSR_STIMECMP), -1UL);

	resume(0);
	expect_exit(CAUSE_ECALL_VS);
	GUEST_ASSERT_EQ(ctx.x[10], CAUSE_IRQ(5));
	GUEST_ASSERT(now() + delta >= csr(CSR_VSTIMECMP));
	GUEST_ASSERT_EQ(csr(CSR_HIP), BIT(6));
	GUEST_ASSERT_EQ(csr(CSR_VSIP), BIT(5));
	csr_w(CSR_VSTIMECMP, -1UL);
	GUEST_ASSERT_EQ(csr(CSR_HIP), 0);

	/* Without STCE L2 has no stimecmp */
	nested_init(&ctx, l2_timer);
	csr_w(CSR_HENVCFG, 0);
	nested_run(&ctx);
	expect_exit(CAUSE_VIRTUAL_INSN);
	csr_w(CSR_HTIMEDELTA, 0);
	csr_w(CSR_HCOUNTEREN, 0);
	GUEST_DONE();
}

/* Without delegation the timer of L2 interrupts L1, in both modes */
static void l1_l2_timer_undelegated(void)
{
	u64 expiry, delta = 1UL << 40;
	int i;

	csr_w(CSR_HIDELEG, 0);
	csr_w(CSR_HTIMEDELTA, delta);
	csr_w(CSR_HENVCFG, ENVCFG_STCE);
	for (i = 0; i < 2; i++) {
		/* V = 1, L2 spins or waits */
		nested_init(&ctx, i ? l2_wfi_loop : l2_spin);
		expiry = now() + TIMER_TICKS;
		csr_w(CSR_VSTIMECMP, expiry + delta);
		csr_w(CSR_HIE, BIT(6));
		nested_run(&ctx);
		expect_exit(CAUSE_IRQ(6));
		GUEST_ASSERT(now() >= expiry);

		/* V = 0, L1 spins or waits */
		WRITE_ONCE(irq_count, 0);
		expiry = now() + TIMER_TICKS;
		csr_w(CSR_VSTIMECMP, expiry + delta);
		csr_set(CSR_SSTATUS, SR_SIE);
		if (i)
			asm volatile("wfi");
		wait_irq(1);
		GUEST_ASSERT_EQ(READ_ONCE(irq_cause), CAUSE_IRQ(6));
		GUEST_ASSERT(now() >= expiry);
		csr_clear(CSR_SSTATUS, SR_SIE);

		/* Both levels, L1's comes later and is not lost, */
		nested_init(&ctx, i ? l2_wfi_loop : l2_spin);
		csr_set(CSR_SIE, BIT(5));
		set_timer(now() + 50 * TIMER_TICKS);
		csr_w(CSR_VSTIMECMP, now() + TIMER_TICKS + delta);
		nested_run(&ctx);
		expect_exit(CAUSE_IRQ(6));
		csr_w(CSR_VSTIMECMP, -1UL);
		nested_run(&ctx);
		expect_exit(CAUSE_IRQ(5));

		/* or earlier, and L2's is not lost */
		set_timer(now() + TIMER_TICKS);
		csr_w(CSR_VSTIMECMP, now() + 50 * TIMER_TICKS + delta);
		nested_run(&ctx);
		expect_exit(CAUSE_IRQ(5));
		set_timer(-1UL);
		nested_run(&ctx);
		expect_exit(CAUSE_IRQ(6));
		csr_w(CSR_VSTIMECMP, -1UL);
		csr_clear(CSR_SIE, BIT(5));
	}
	csr_w(CSR_HIE, 0);
	csr_w(CSR_HTIMEDELTA, 0);
	GUEST_DONE();
}

/* One that expires while L1 runs is pending for L2 when that runs again */
static void l1_l2_timer_pending(void)
{
	u64 expiry;

	nested_init(&ctx, l2_wait_irq);
	csr_w(CSR_VSSTATUS, 0);
	csr_w(CSR_HIDELEG, VS_IRQS);
	csr_w(CSR_HENVCFG, ENVCFG_STCE);
	csr_w(CSR_VSTIMECMP, -1UL);
	nested_run(&ctx);
	expect_call(1);
	expiry = now() + TIMER_TICKS;
	csr_w(CSR_VSTIMECMP, expiry);
	GUEST_ASSERT_EQ(csr(CSR_HIP), 0);
	/* L1 has SIE set, but this is none of its interrupts */
	WRITE_ONCE(irq_count, 0);
	csr_set(CSR_SSTATUS, SR_SIE);
	while (now() < expiry)
		cpu_relax();
	GUEST_ASSERT_EQ(csr(CSR_HIP), BIT(6));
	csr_clear(CSR_SSTATUS, SR_SIE);
	GUEST_ASSERT_EQ(READ_ONCE(irq_count), 0);
	resume(0);
	expect_exit(CAUSE_ECALL_VS);
	GUEST_ASSERT_EQ(ctx.x[10], CAUSE_IRQ(5));
	csr_w(CSR_VSTIMECMP, -1UL);
	csr_w(CSR_HIE, 0);
	GUEST_DONE();
}

static void l2_mmio_spin(void)
{
	WRITE_ONCE(*(u32 *)(L2_VA + 0x10000000), 0);
	l2_spin();
}

/* Userspace sets the clock while L2 runs: the timer of L1 follows */
static void l1_timer_clock(void)
{
	nested_init(&ctx, l2_mmio_spin);
	nested_map(&nested_pgt, L2_VA + 0x10000000, NESTED_MMIO_GPA, 0, NESTED_PTE_RWX);
	csr_set(CSR_SIE, BIT(5));
	/* More than an hour; the device is the clock */
	set_timer(now() + CLOCK_STEP);
	nested_run(&ctx);
	expect_exit(CAUSE_IRQ(5));
	set_timer(-1UL);
	csr_clear(CSR_SIE, BIT(5));
	GUEST_DONE();
}

/* --- SPV ------------------------------------------------------------------- */

static void l1_breakpoint(struct pt_regs *regs)
{
	WRITE_ONCE(trap_cause, regs->cause);
	WRITE_ONCE(trap_hstatus, csr_read(CSR_HSTATUS));
	regs->epc += 4;
}

/* A trap of L1 itself leaves SPV and GVA clear, whatever they were (15.2.1) */
static void l1_spv(void)
{
	csr_w(CSR_HSTATUS, HSTATUS_SPV | HSTATUS_SPVP);
	GUEST_ASSERT_EQ(csr(CSR_HSTATUS) & (HSTATUS_SPV | HSTATUS_SPVP),
			HSTATUS_SPV | HSTATUS_SPVP);
	asm volatile(".option push\n.option norvc\nebreak\n.option pop");
	GUEST_ASSERT_EQ(READ_ONCE(trap_cause), CAUSE_BREAKPOINT);
	GUEST_ASSERT_EQ(READ_ONCE(trap_hstatus) & (HSTATUS_SPV | HSTATUS_SPVP), HSTATUS_SPVP);
	/* The SRET of the handler came back here, so it did not go to V=1 */
	csr_w(CSR_HSTATUS, 0);
	GUEST_DONE();
}

/* --- FP -------------------------------------------------------------------- */

static void l2_fp(void)
{
	csr_set(CSR_SSTATUS, SR_FS);
	asm volatile(".option push\n.option arch, +d\n"
		     "fmv.d.x f1, zero\n.option pop" ::: "memory");
	nested_l2_call(1);
}

static void l1_fp(void)
{
	nested_init(&ctx, l2_fp);
	ctx.sstatus &= ~SR_FS;
	csr_w(CSR_HEDELEG, 0);
	nested_run(&ctx);
	/* Off for L1 */
	expect_exit(CAUSE_ILLEGAL);
	ctx.sstatus |= SR_FS_CLEAN;
	nested_run(&ctx);
	expect_call(1);
	/* and dirty when it was used */
	GUEST_ASSERT_EQ(ctx.sstatus & SR_FS, SR_FS_DIRTY);

	/* Clean stays clean when it was not */
	nested_init(&ctx, l2_ecall);
	ctx.sstatus = (ctx.sstatus & ~SR_FS) | SR_FS_CLEAN;
	nested_run(&ctx);
	GUEST_ASSERT_EQ(ctx.sstatus & SR_FS, SR_FS_CLEAN);
	GUEST_DONE();
}

/* Vector: off for L1, dirty when used, clean when not, off for L2 itself */
static void l2_vector(void)
{
	csr_set(CSR_SSTATUS, SR_VS);
	nested_l2_call(1);
	asm volatile(".option push\n.option norvc\n.option arch, +v\n"
		     "vsetivli x0, 2, e32, m1, ta, ma\n.option pop");
	nested_l2_call(2);
	csr_clear(CSR_SSTATUS, SR_VS);
	asm volatile(".option push\n.option norvc\n.option arch, +v\n"
		     "vsetivli x0, 2, e32, m1, ta, ma\n.option pop");
	nested_l2_call(3);
}

static void l1_vector(void)
{
	nested_init(&ctx, l2_vector);
	ctx.sstatus &= ~SR_VS;
	csr_w(CSR_HEDELEG, 0);
	csr_w(CSR_VSSTATUS, 0);
	nested_run(&ctx);
	expect_call(1);
	resume(0);
	expect_exit(CAUSE_ILLEGAL);
	ctx.sstatus |= SR_VS_CLEAN;
	nested_run(&ctx);
	expect_call(2);
	GUEST_ASSERT_EQ(ctx.sstatus & SR_VS, SR_VS_DIRTY);
	GUEST_ASSERT(ctx.sstatus & SR_SD);
	GUEST_ASSERT_EQ(csr(CSR_VSSTATUS) & SR_VS, SR_VS_DIRTY);
	ctx.sstatus = (ctx.sstatus & ~SR_VS) | SR_VS_CLEAN;
	resume(0);
	expect_exit(CAUSE_ILLEGAL);
	GUEST_ASSERT_EQ(ctx.sstatus & SR_VS, SR_VS_CLEAN);
	GUEST_DONE();
}

/* Without V or F in L1 there is none for L2, whatever sstatus of L1 says */
static void l1_without_v(void)
{
	nested_init(&ctx, l2_vector);
	ctx.sstatus |= SR_VS;
	csr_w(CSR_HEDELEG, 0);
	nested_run(&ctx);
	expect_call(1);
	resume(0);
	expect_exit(CAUSE_ILLEGAL);
	GUEST_DONE();
}

static void l1_without_d(void)
{
	nested_init(&ctx, l2_fp);
	ctx.sstatus |= SR_FS;
	csr_w(CSR_HEDELEG, 0);
	nested_run(&ctx);
	expect_exit(CAUSE_ILLEGAL);
	GUEST_DONE();
}

/* FP registers are those of L1 in L2, and the other way round */
static void l2_fp_values(void)
{
	u64 v;

	csr_set(CSR_SSTATUS, SR_FS);
	asm volatile(".option push\n.option arch, +d\n"
		     "fmv.x.d %0, f20\n.option pop" : "=r" (v));
	nested_l2_call(v);
	asm volatile(".option push\n.option arch, +d\n"
		     "fmv.d.x f20, %0\n.option pop" :: "r" (0x4444UL));
	nested_l2_call(2);
}

static void l1_fp_values(void)
{
	u64 v;

	csr_set(CSR_SSTATUS, SR_FS);
	asm volatile(".option push\n.option arch, +d\n"
		     "fmv.d.x f20, %0\n.option pop" :: "r" (0x3333UL));
	nested_init(&ctx, l2_fp_values);
	nested_run(&ctx);
	expect_call(0x3333);
	resume(0);
	expect_call(2);
	asm volatile(".option push\n.option arch, +d\n"
		     "fmv.x.d %0, f20\n.option pop" : "=r" (v));
	GUEST_ASSERT_EQ(v, 0x4444UL);
	GUEST_DONE();
}

/* --- MMIO ------------------------------------------------------------------ */

static void l2_mmio(void)
{
	u32 *p = (u32 *)(L2_VA + 0x10000000);

	WRITE_ONCE(p[1], 0xcafe);
	nested_l2_call(READ_ONCE(p[2]));
}

static void l1_mmio(void)
{
	nested_init(&ctx, l2_mmio);
	nested_map(&nested_pgt, L2_VA + 0x10000000, NESTED_MMIO_GPA, 0, NESTED_PTE_RWX);
	nested_run(&ctx);
	/* The VMM of L1 answered */
	expect_call(0xbeef);
	GUEST_DONE();
}

#define L2_DEVICE	(L2_VA + 0x10000000)

static void l2_no_mmio(void)
{
	asm volatile(".option push\n.option norvc\n"
		     "amoadd.w zero, zero, (%0)\n"
		     "lw zero, 1(%0)\n"
		     "jr %0\n"
		     ".option pop" :: "r" (L2_DEVICE));
}

static void expect_access_fault(u64 cause, u64 addr)
{
	expect_exit(cause);
	GUEST_ASSERT_EQ(ctx.hstatus & HSTATUS_GVA, HSTATUS_GVA);
	GUEST_ASSERT_EQ(ctx.stval, addr);
	GUEST_ASSERT_EQ(ctx.htval, 0);
}

/*
 * What the device cannot do ends neither KVM_RUN nor L1: there is no memory that
 * supports such an access (PMA). Harts may find it misaligned before that.
 */
static void l1_no_mmio(void)
{
	nested_init(&ctx, l2_no_mmio);
	nested_map(&nested_pgt, L2_DEVICE, NESTED_MMIO_GPA, 0, NESTED_PTE_RWX);
	nested_run(&ctx);
	expect_access_fault(CAUSE_STORE_ACCESS, L2_DEVICE);
	resume(0);
	if (ctx.scause != CAUSE_LOAD_MISALIGNED)
		expect_access_fault(CAUSE_LOAD_ACCESS, L2_DEVICE + 1);
	resume(0);
	expect_access_fault(CAUSE_INST_ACCESS, L2_DEVICE);
	GUEST_DONE();
}

static void handle_mmio(struct kvm_vcpu *vcpu, void *l1)
{
	struct kvm_run *run = vcpu->run;

	if (l1 == l1_timer_clock) {
		vcpu_set_reg(vcpu, RISCV_TIMER_REG(time),
			     vcpu_get_reg(vcpu, RISCV_TIMER_REG(time)) + CLOCK_STEP);
	} else if (run->mmio.is_write) {
		TEST_ASSERT(run->mmio.phys_addr == NESTED_MMIO_GPA + 4 &&
			    *(u32 *)run->mmio.data == 0xcafe,
			    "store of %x to %llx", *(u32 *)run->mmio.data,
			    run->mmio.phys_addr);
	} else {
		TEST_ASSERT(run->mmio.phys_addr == NESTED_MMIO_GPA + 8,
			    "load from %llx", run->mmio.phys_addr);
		*(u32 *)run->mmio.data = 0xbeef;
	}
}

/* --- Guest debug ------------------------------------------------------------ */

static u64 debug_delegated;

/* Steps over the breakpoint and counts */
static void __attribute__((naked)) __aligned(4) l2_on_breakpoint(void)
{
	asm volatile("csrr t0, sepc\n"
		     "addi t0, t0, 4\n"
		     "csrw sepc, t0\n"
		     "csrr t0, sscratch\n"
		     "addi t0, t0, 1\n"
		     "csrw sscratch, t0\n"
		     "sret");
}

static void l2_debug(void)
{
	u32 *device = (u32 *)(L2_VA + 0x10000000);
	int i;

	csr_w(CSR_STVEC, (u64)l2_on_breakpoint);
	csr_w(CSR_SSCRATCH, 0);
	for (i = 0; i < 2; i++) {
		/* The host sets or clears guest debug here */
		WRITE_ONCE(*device, i);
		asm volatile(".option push\n.option norvc\nebreak\n.option pop"
			     ::: "t0", "memory");
	}
	nested_l2_call(csr(CSR_SSCRATCH));
}

static void l1_debug(void)
{
	nested_init(&ctx, l2_debug);
	nested_map(&nested_pgt, L2_VA + 0x10000000, NESTED_MMIO_GPA, 0, NESTED_PTE_RWX);
	csr_w(CSR_HEDELEG, debug_delegated ? BIT(CAUSE_BREAKPOINT) : 0);
	nested_run(&ctx);
	if (!debug_delegated) {
		expect_exit(CAUSE_BREAKPOINT);
		resume(0);
	}
	expect_call(debug_delegated);
	GUEST_DONE();
}

enum need { NOTHING, SSTC, V, D };

static const struct {
	const char *name;
	void (*l1)(void);
	enum vm_mem_backing_src_type src;
	enum need need;
	enum need without;
} tests[] = {
	{ "ecall from VS-mode", l1_ecall },
	{ "virtual-instruction and illegal-instruction exceptions", l1_virtual_insn },
	{ "delegated exceptions", l1_delegation },
	{ "every exception, from VS and VU, delegated or not", l1_routing },
	{ "VU-mode", l1_user },
	{ "guest-page faults", l1_gstage_fault },
	{ "A and D", l1_gstage_ad },
	{ "guest-page faults beyond the address space", l1_gstage_beyond },
	{ "HFENCE.GVMA", l1_hfence },
	{ "HFENCE.GVMA of a superpage, 4K memory", l1_hfence_superpage },
	{ "HFENCE.GVMA of a superpage, THP memory", l1_hfence_superpage,
	  VM_MEM_SRC_ANONYMOUS_THP },
	{ "SBI remote HFENCE", l1_rfence },
	{ "more hgatps than shadows", l1_many_vmids },
	{ "HLV, HLVX and HSV", l1_hlv },
	{ "interrupts of L2", l1_inject },
	{ "priority of interrupts", l1_priority },
	{ "SSIP of L2", l1_ssip },
	{ "interrupts of L1 while L2 runs", l1_own_irqs },
	{ "undelegated interrupts of VS level while L2 runs", l1_undelegated_irq },
	{ "undelegated interrupts of VS level while L1 runs", l1_undelegated_v0 },
	{ "timer of L1", l1_timer },
	{ "timer of L1 when the clock is set", l1_timer_clock, .need = SSTC },
	{ "timer of L2", l1_l2_timer, .need = SSTC },
	{ "timer of L2, undelegated, and of L1", l1_l2_timer_undelegated, .need = SSTC },
	{ "timer of L2 that expires while L1 runs", l1_l2_timer_pending, .need = SSTC },
	{ "SPV of L1's own traps", l1_spv },
	{ "floating point", l1_fp, .need = D },
	{ "floating-point registers", l1_fp_values, .need = D },
	{ "no floating point without D and F", l1_without_d, .need = D, .without = D },
	{ "vector", l1_vector, .need = V },
	{ "no vector without V", l1_without_v, .need = V, .without = V },
	{ "MMIO of L2 through L1", l1_mmio },
	{ "MMIO that cannot be emulated", l1_no_mmio },
};

static void set_extensions(struct kvm_vm *vm, struct kvm_vcpu *vcpu, enum need without)
{
	if (without == V)
		vcpu_set_reg(vcpu, RISCV_ISA_EXT_REG(KVM_RISCV_ISA_EXT_V), 0);
	if (without == D) {
		vcpu_set_reg(vcpu, RISCV_ISA_EXT_REG(KVM_RISCV_ISA_EXT_D), 0);
		vcpu_set_reg(vcpu, RISCV_ISA_EXT_REG(KVM_RISCV_ISA_EXT_F), 0);
	}

	*(u64 *)addr_gva2hva(vm, (gva_t)&has_sstc) =
		__vcpu_has_isa_ext(vcpu, KVM_RISCV_ISA_EXT_SSTC);
	/* With both it is off until the guest asks for it, through SBI FWFT */
	*(u64 *)addr_gva2hva(vm, (gva_t)&has_adue) =
		__vcpu_has_isa_ext(vcpu, KVM_RISCV_ISA_EXT_SVADU) &&
		!__vcpu_has_isa_ext(vcpu, KVM_RISCV_ISA_EXT_SVADE);
}

static bool have(enum need need)
{
	static const u64 ext[] = {
		[SSTC] = KVM_RISCV_ISA_EXT_SSTC,
		[V] = KVM_RISCV_ISA_EXT_V,
		[D] = KVM_RISCV_ISA_EXT_D,
	};
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	bool ret;

	if (!need)
		return true;

	vm = vm_create_with_one_vcpu(&vcpu, NULL);
	ret = __vcpu_has_isa_ext(vcpu, ext[need]);
	kvm_vm_free(vm);

	return ret;
}

static void handle_sync(struct kvm_vcpu *vcpu, u64 what)
{
	struct kvm_interrupt irq = {
		.irq = what == SYNC_SET_EXT ? KVM_INTERRUPT_SET : KVM_INTERRUPT_UNSET,
	};

	if (what != SYNC_NOTHING)
		vcpu_ioctl(vcpu, KVM_INTERRUPT, &irq);
}

static bool run_test(void *l1, enum vm_mem_backing_src_type src, enum need without)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = nested_vm_create(&vcpu, l1, src);
	bool pass = false, done = false;
	struct ucall uc;

	set_extensions(vm, vcpu, without);
	vm_install_interrupt_handler(vm, l1_irq);
	vm_install_exception_handler(vm, CAUSE_LOAD_GUEST_PAGE, l1_trap);
	vm_install_exception_handler(vm, CAUSE_STORE_GUEST_PAGE, l1_trap);
	vm_install_exception_handler(vm, CAUSE_BREAKPOINT, l1_breakpoint);

	while (!done) {
		vcpu_run(vcpu);
		if (vcpu->run->exit_reason == KVM_EXIT_MMIO) {
			handle_mmio(vcpu, l1);
			continue;
		}
		switch (get_ucall(vcpu, &uc)) {
		case UCALL_SYNC:
			handle_sync(vcpu, uc.args[1]);
			break;
		case UCALL_DONE:
			pass = true;
			done = true;
			break;
		case UCALL_ABORT:
			ksft_print_msg("%s at %s:%ld\n", uc.buffer,
				       (const char *)uc.args[GUEST_FILE],
				       uc.args[GUEST_LINE]);
			done = true;
			break;
		case UCALL_UNHANDLED:
			ksft_print_msg("unexpected trap of L1, vector %ld cause %ld\n",
				       uc.args[0], uc.args[1]);
			done = true;
			break;
		default:
			ksft_print_msg("exit reason %d\n", vcpu->run->exit_reason);
			done = true;
			break;
		}
	}
	kvm_vm_free(vm);

	return pass;
}

/*
 * What a vCPU has enabled must not interrupt the host when the next vCPU on the
 * CPU, in L2 of an L1 that delegates nothing, does not have it delegated.
 */
static void guest_irq_pending(void)
{
	csr_clear(CSR_SSTATUS, SR_SIE);
	csr_set(CSR_SIE, BIT(1) | BIT(5) | BIT(9));
	csr_set(CSR_SIP, BIT(1));
	for (;;)
		GUEST_SYNC(0);
}

static void l2_mmio_loop(void)
{
	for (;;)
		WRITE_ONCE(*(u32 *)(L2_VA + 0x10000000), 0);
}

static void l1_no_delegation(void)
{
	nested_init(&ctx, l2_mmio_loop);
	nested_map(&nested_pgt, L2_VA + 0x10000000, NESTED_MMIO_GPA, 0, NESTED_PTE_RWX);
	csr_w(CSR_HIDELEG, 0);
	csr_w(CSR_HIE, 0);
	nested_run(&ctx);
	GUEST_ASSERT(false);
}

static bool test_shared_cpu(void)
{
	struct kvm_interrupt irq = { .irq = KVM_INTERRUPT_SET };
	struct kvm_vcpu *vcpu[2];
	struct kvm_vm *vm[2];
	bool pass = true;
	struct ucall uc;
	cpu_set_t all;
	int i;

	TEST_ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
	pin_self_to_cpu(0);
	vm[0] = vm_create_with_one_vcpu(&vcpu[0], guest_irq_pending);
	vm[1] = nested_vm_create(&vcpu[1], l1_no_delegation, VM_MEM_SRC_ANONYMOUS);
	vcpu_ioctl(vcpu[0], KVM_INTERRUPT, &irq);
	for (i = 0; i < 100; i++) {
		vcpu_run(vcpu[0]);
		pass &= get_ucall(vcpu[0], &uc) == UCALL_SYNC;
		vcpu_run(vcpu[1]);
		pass &= vcpu[1]->run->exit_reason == KVM_EXIT_MMIO;
	}
	kvm_vm_free(vm[0]);
	kvm_vm_free(vm[1]);
	sched_setaffinity(0, sizeof(all), &all);

	return pass;
}

static void guest_done(void)
{
	GUEST_DONE();
}

static bool test_virt_without_h(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = vm_create_with_one_vcpu(&vcpu, guest_done);
	struct ucall uc;
	bool pass;

	vcpu_set_reg(vcpu, RISCV_CORE_REG(virt), KVM_RISCV_VIRT_ON);
	vcpu_set_reg(vcpu, RISCV_ISA_EXT_REG(KVM_RISCV_ISA_EXT_H), 0);
	pass = __vcpu_set_reg(vcpu, RISCV_CORE_REG(virt), KVM_RISCV_VIRT_OFF) != 0;
	vcpu_run(vcpu);
	pass &= get_ucall(vcpu, &uc) == UCALL_DONE;
	kvm_vm_free(vm);

	return pass;
}

static bool run_is(struct kvm_vcpu *vcpu, u32 reason)
{
	vcpu_run(vcpu);
	if (vcpu->run->exit_reason != reason)
		ksft_print_msg("exit reason %u instead of %u\n", vcpu->run->exit_reason, reason);

	return vcpu->run->exit_reason == reason;
}

/* The debugger of L0 comes before L1 and L2, and only while it is on */
static bool test_debug(bool delegated)
{
	struct kvm_guest_debug on = { .control = KVM_GUESTDBG_ENABLE }, off = { 0 };
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = nested_vm_create(&vcpu, l1_debug, VM_MEM_SRC_ANONYMOUS);
	struct ucall uc;
	bool pass;

	*(u64 *)addr_gva2hva(vm, (gva_t)&debug_delegated) = delegated;
	pass = run_is(vcpu, KVM_EXIT_MMIO);
	vcpu_ioctl(vcpu, KVM_SET_GUEST_DEBUG, &on);
	pass = pass && run_is(vcpu, KVM_EXIT_DEBUG) &&
	       vcpu_get_reg(vcpu, RISCV_CORE_REG(virt)) == KVM_RISCV_VIRT_ON;
	vcpu_set_reg(vcpu, RISCV_CORE_REG(regs.pc),
		     vcpu_get_reg(vcpu, RISCV_CORE_REG(regs.pc)) + 4);
	pass = pass && run_is(vcpu, KVM_EXIT_MMIO);
	vcpu_ioctl(vcpu, KVM_SET_GUEST_DEBUG, &off);
	if (pass) {
		vcpu_run(vcpu);
		pass = get_ucall(vcpu, &uc) == UCALL_DONE;
		if (uc.cmd == UCALL_ABORT)
			ksft_print_msg("%s at %s:%ld\n", uc.buffer,
				       (const char *)uc.args[GUEST_FILE], uc.args[GUEST_LINE]);
	}
	kvm_vm_free(vm);

	return pass;
}

int main(int argc, char *argv[])
{
	int i;

	ksft_print_header();
	if (!nested_supported())
		ksft_exit_skip("KVM does not offer the H extension, see kvm.nested\n");

	ksft_set_plan(ARRAY_SIZE(tests) + 4);
	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		if (argc > 1 && i != atoi(argv[1])) {
			ksft_test_result_skip("%s: not asked for\n", tests[i].name);
			continue;
		}
		if (!have(tests[i].need)) {
			ksft_test_result_skip("%s: no such extension\n", tests[i].name);
			continue;
		}
		ksft_test_result(run_test(tests[i].l1, tests[i].src, tests[i].without),
				 "%s\n", tests[i].name);
	}
	ksft_test_result(test_shared_cpu(),
			 "a vCPU in L2 after one with interrupts enabled and pending\n");
	ksft_test_result(test_debug(false), "guest debug of L2\n");
	ksft_test_result(test_debug(true), "guest debug of L2 with delegated breakpoints\n");
	ksft_test_result(test_virt_without_h(), "virt has no effect without H\n");
	ksft_finished();
}
