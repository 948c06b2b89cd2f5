// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: what L1 does to its G-stages reaches L2.
 *
 * L2 executes single loads, stores and jumps on behalf of L1, which changes its
 * page tables in between. Expected values are those of the privileged
 * specification, sections on Sv39 and on two-stage address translation.
 */
#include <linux/sizes.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm_util.h"
#include "processor.h"
#include "nested.h"
#include "sbi.h"
#include "ucall_common.h"
#include "kselftest.h"

#define CAUSE_ECALL_VS		10
#define CAUSE_INST_GUEST_PAGE	20
#define CAUSE_LOAD_GUEST_PAGE	21
#define CAUSE_STORE_GUEST_PAGE	23

#define SBI_EXT_RFENCE		0x52464e43
#define RFENCE_GVMA_VMID	3
#define RFENCE_GVMA		4

#define V	NESTED_PTE_V
#define R	NESTED_PTE_R
#define W	NESTED_PTE_W
#define X	NESTED_PTE_X
#define U	NESTED_PTE_U
#define A	NESTED_PTE_A
#define D	NESTED_PTE_D
#define RWX	NESTED_PTE_RWX
#define PBMT(__n)	((u64)(__n) << 61)
#define RESERVED	BIT(54)
#define NAPOT		BIT(63)

/* What L2 works on: a range of its own for each test that needs more than one */
#define L2_PAGE		(NESTED_L2_ADDR + 0x40000000)
#define L2_MANY		(NESTED_L2_ADDR + 0x80000000)

/* The two pieces of L1's memory that a test maps there in turn */
#define MEM(__n, __size)	(NESTED_TEST_GPA + (__n) * (__size))
#define SECOND_GIG		(NESTED_TEST_GPA + SZ_1G)

/* Shared with the test program */
static bool has_adue, has_svinval, has_svnapot;
static u64 stale;
static u64 l2_stack2[512] __aligned(16);

static struct nested_ctx ctx;
static u64 l2_sp;
static struct {
	u64 op;
	u64 addr;
	u64 value;
} cmd;

enum { LOAD, STORE, EXEC };

static void l2_code(void)
{
	for (;;) {
		u64 *p = (u64 *)READ_ONCE(cmd.addr);

		switch (READ_ONCE(cmd.op)) {
		case LOAD:
			WRITE_ONCE(cmd.value, READ_ONCE(*p));
			break;
		case STORE:
			WRITE_ONCE(*p, READ_ONCE(cmd.value));
			break;
		case EXEC:
			asm volatile("fence.i" ::: "memory");
			((void (*)(void))p)();
			break;
		}
		nested_l2_call(0);
	}
}

static void l2_init(void)
{
	nested_init(&ctx, l2_code);
	l2_sp = ctx.x[2];
}

/* Let L2 access an address; returns the guest-page fault, or 0 */
static u64 l2_access(u64 op, u64 addr)
{
	WRITE_ONCE(cmd.op, op);
	WRITE_ONCE(cmd.addr, addr);
	ctx.sepc = (u64)l2_code;
	ctx.x[2] = l2_sp;
	nested_run(&ctx);
	if (ctx.scause == CAUSE_ECALL_VS)
		return 0;

	GUEST_ASSERT_EQ(ctx.htval, addr >> 2);
	return ctx.scause;
}

static u64 l2_load(u64 addr)
{
	GUEST_ASSERT_EQ(l2_access(LOAD, addr), 0);
	return READ_ONCE(cmd.value);
}

/* L1's own view of the test memory, of which page 0 and so on are mapped */
static u64 *l1_mem(u64 page)
{
	return (u64 *)(NESTED_L2_ADDR + page * 4096);
}

#define INSN_RET	0x8082

/* --- Permissions and A/D ---------------------------------------------- */

static const u64 faults[] = {
	[LOAD] = CAUSE_LOAD_GUEST_PAGE,
	[STORE] = CAUSE_STORE_GUEST_PAGE,
	[EXEC] = CAUSE_INST_GUEST_PAGE,
};

static const struct {
	u64 flags;
	/* Accesses that work, as bits */
	u8 ok;
	/* And with Svadu, where A and D are set by hardware */
	u8 ok_adue;
} perms[] = {
#define OK(__l, __s, __x)	((__l) << LOAD | (__s) << STORE | (__x) << EXEC)
	{ V | R | W | X | U | A | D,	OK(1, 1, 1),	OK(1, 1, 1) },
	{ V | R | W | U | A | D,	OK(1, 1, 0),	OK(1, 1, 0) },
	{ V | R | X | U | A | D,	OK(1, 0, 1),	OK(1, 0, 1) },
	{ V | R | U | A | D,		OK(1, 0, 0),	OK(1, 0, 0) },
	{ V | X | U | A | D,		OK(0, 0, 1),	OK(0, 0, 1) },
	{ V | R | W | X | U | A,	OK(1, 0, 1),	OK(1, 1, 1) },
	{ V | R | W | X | U | D,	OK(0, 0, 0),	OK(1, 1, 1) },
	{ V | R | W | X | U,		OK(0, 0, 0),	OK(1, 1, 1) },
	{ V | R | U,			OK(0, 0, 0),	OK(1, 0, 0) },
	/* Not valid, not a user page, reserved combinations and bits */
	{ R | W | X | U | A | D,	OK(0, 0, 0),	OK(0, 0, 0) },
	{ V | R | W | X | A | D,	OK(0, 0, 0),	OK(0, 0, 0) },
	{ V | W | U | A | D,		OK(0, 0, 0),	OK(0, 0, 0) },
	{ V | W | X | U | A | D,	OK(0, 0, 0),	OK(0, 0, 0) },
	{ V | U | A | D,		OK(0, 0, 0),	OK(0, 0, 0) },
	{ RWX | RESERVED,		OK(0, 0, 0),	OK(0, 0, 0) },
	{ RWX | PBMT(3),		OK(0, 0, 0),	OK(0, 0, 0) },
	{ RWX | NAPOT,			OK(0, 0, 0),	OK(0, 0, 0) },
};

static void check_perm(int i, u64 op, u64 *pte, u64 before)
{
	u8 ok = has_adue ? perms[i].ok_adue : perms[i].ok;
	bool works = ok & BIT(op);
	u64 ad = 0, cause;

	cause = l2_access(op, L2_PAGE);
	__GUEST_ASSERT(cause == (works ? 0 : faults[op]),
		       "flags %lx after %lx: access %lu gives %lu", perms[i].flags, before,
		       op, cause);

	/* Only hardware with Svadu touches the entry, and only if it works */
	if (works && has_adue)
		ad = op == STORE ? A | D : A;
	__GUEST_ASSERT((*pte & 0x3ff) == ((perms[i].flags & 0x3ff) | ad),
		       "flags %lx after access %lu: %lx", perms[i].flags, op, *pte);

	/* What is cached now allows no more than before */
	for (op = LOAD; op <= EXEC; op++) {
		WRITE_ONCE(cmd.value, INSN_RET);
		cause = l2_access(op, L2_PAGE);
		__GUEST_ASSERT(cause == (ok & BIT(op) ? 0 : faults[op]),
			       "flags %lx, cached: access %lu gives %lu",
			       perms[i].flags, op, cause);
	}
}

/* Each entry and access with nothing cached, and with each other entry before */
static void l1_perms(void)
{
	u64 op, ppn = MEM(0, 4096) >> 2, *pte;
	int i, j;

	l2_init();
	pte = nested_map(&nested_pgt, L2_PAGE, MEM(0, 4096), 0, RWX);

	for (i = 0; i < ARRAY_SIZE(perms); i++) {
		for (op = LOAD; op <= EXEC; op++) {
			for (j = 0; j < ARRAY_SIZE(perms); j++) {
				*l1_mem(0) = INSN_RET;
				WRITE_ONCE(cmd.value, INSN_RET);
				*pte = ppn | perms[j].flags;
				nested_hfence_gvma();
				l2_access(op, L2_PAGE);

				WRITE_ONCE(cmd.value, INSN_RET);
				*pte = ppn | perms[i].flags;
				nested_hfence_gvma_addr(L2_PAGE);
				check_perm(i, op, pte, perms[j].flags);
			}
		}
	}
	GUEST_DONE();
}

/* A superpage has to be aligned to its size, on all levels; 0 is no leaf */
static void l1_malformed(void)
{
	u64 *pte;
	int level;

	l2_init();
	for (level = 1; level <= 2; level++) {
		pte = nested_map(&nested_pgt, L2_PAGE, MEM(1, 4096), level, RWX);
		nested_hfence_gvma();
		GUEST_ASSERT_EQ(l2_access(LOAD, L2_PAGE), CAUSE_LOAD_GUEST_PAGE);
		*pte = NESTED_TEST_GPA >> 2 | RWX;
		nested_hfence_gvma();
		GUEST_ASSERT_EQ(l2_access(LOAD, L2_PAGE), 0);

		/* Pointers must not have any of these */
		*pte = 0;
		nested_map(&nested_pgt, L2_PAGE, NESTED_TEST_GPA, level - 1, RWX);
		nested_hfence_gvma();
		GUEST_ASSERT_EQ(l2_access(LOAD, L2_PAGE), 0);
		*pte |= A;
		nested_hfence_gvma();
		GUEST_ASSERT_EQ(l2_access(LOAD, L2_PAGE), CAUSE_LOAD_GUEST_PAGE);
		*pte ^= A | U;
		nested_hfence_gvma();
		GUEST_ASSERT_EQ(l2_access(LOAD, L2_PAGE), CAUSE_LOAD_GUEST_PAGE);
		*pte = 0;
	}
	/* Beyond 41 bits of Sv39x4, where addresses have nothing to do with PTEs */
	GUEST_ASSERT_EQ(l2_access(LOAD, BIT(41) | L2_PAGE), CAUSE_LOAD_GUEST_PAGE);
	GUEST_DONE();
}

/* --- Fences ------------------------------------------------------------ */

static void hinval(u64 gpa, u64 vmid, bool has_addr, bool has_vmid)
{
	/* sfence.w.inval; hinval.gvma; sfence.inval.ir */
	asm volatile(".insn 0x18000073" ::: "memory");
	if (has_addr && has_vmid)
		asm volatile(".insn r 0x73, 0, 0x33, x0, %0, %1"
			     :: "r" (gpa >> 2), "r" (vmid) : "memory");
	else if (has_addr)
		asm volatile(".insn r 0x73, 0, 0x33, x0, %0, x0" :: "r" (gpa >> 2) : "memory");
	else if (has_vmid)
		asm volatile(".insn r 0x73, 0, 0x33, x0, x0, %0" :: "r" (vmid) : "memory");
	else
		asm volatile(".insn r 0x73, 0, 0x33, x0, x0, x0" ::: "memory");
	asm volatile(".insn 0x18100073" ::: "memory");
}

static void rfence(u64 fid, u64 gpa, u64 size, u64 vmid)
{
	struct sbiret ret = sbi_ecall(SBI_EXT_RFENCE, fid, 0, -1UL, gpa, size, vmid, 0);

	GUEST_ASSERT_EQ(ret.error, 0);
}

/* Two registers that hold zero are not x0 */
static u64 zero;

#define FORM(__name, __fence)					\
static void fence_##__name(u64 gpa, u64 vmid) { __fence; }

FORM(all, nested_hfence_gvma())
FORM(addr, nested_hfence_gvma_addr(gpa))
FORM(vmid, nested_hfence_gvma_vmid(vmid))
FORM(addr_vmid, nested_hfence_gvma_addr_vmid(gpa, vmid))
FORM(inval_all, hinval(0, 0, false, false))
FORM(inval_addr, hinval(gpa, 0, true, false))
FORM(inval_vmid, hinval(0, vmid, false, true))
FORM(inval_addr_vmid, hinval(gpa, vmid, true, true))
FORM(sbi_all, rfence(RFENCE_GVMA, 0, 0, 0))
FORM(sbi_max, rfence(RFENCE_GVMA, gpa, -1UL, 0))
FORM(sbi_page, rfence(RFENCE_GVMA, gpa & ~0xfffUL, 4096, 0))
FORM(sbi_large, rfence(RFENCE_GVMA, gpa & ~(SZ_1G - 1UL), SZ_1G, 0))
FORM(sbi_vmid_all, rfence(RFENCE_GVMA_VMID, 0, 0, vmid))
FORM(sbi_vmid_page, rfence(RFENCE_GVMA_VMID, gpa & ~0xfffUL, 4096, vmid))

static void (*const fences[])(u64 gpa, u64 vmid) = {
	fence_all, fence_addr, fence_vmid, fence_addr_vmid,
	fence_sbi_all, fence_sbi_max, fence_sbi_page, fence_sbi_large,
	fence_sbi_vmid_all, fence_sbi_vmid_page,
	fence_inval_all, fence_inval_addr, fence_inval_vmid, fence_inval_addr_vmid,
};

/*
 * L1 maps two pieces of its memory in turn. After a fence for any address in
 * the page L2 sees the new one at all addresses in it; before it may see either.
 */
static void l1_fences(void)
{
	static const u64 sizes[] = { 4096, SZ_2M, SZ_1G, SZ_64K };
	int n = has_svinval ? ARRAY_SIZE(fences) : ARRAY_SIZE(fences) - 4;
	u64 vmid, size, look, other, to, *pte, step;
	int i, level, turn;

	l2_init();
	for (i = 0; i < 1024; i++)
		*l1_mem(i) = i;

	for (level = 0; level < (has_svnapot ? 4 : 3); level++) {
		size = sizes[level];
		/* Addresses that are mapped in both, and two of them */
		look = size == SZ_1G ? SZ_2M : size;
		other = look / 2 + look / 4;
		step = size == SZ_64K ? 4096 : size;

		for (i = 0; i < n * 4; i++) {
			turn = i & 1;
			/* A VMID of 0 is one like any other */
			vmid = i / 2 & 1 ? READ_ONCE(zero) : 1;
			csr_write(CSR_HGATP, nested_hgatp(vmid));

			to = size == SZ_1G && turn ? SECOND_GIG : MEM(turn, size);
			for (u64 p = 0; p < size; p += step) {
				if (size == SZ_64K)
					pte = nested_map(&nested_pgt, L2_PAGE + p, to + 0x8000, 0,
							 RWX | NAPOT);
				else
					pte = nested_map(&nested_pgt, L2_PAGE, to, level, RWX);
			}
			if (l2_load(L2_PAGE) != turn * look / 4096)
				WRITE_ONCE(stale, READ_ONCE(stale) + 1);
			if (size > 4096 && l2_load(L2_PAGE + other) !=
					   (turn * look + other) / 4096)
				WRITE_ONCE(stale, READ_ONCE(stale) + 1);

			fences[i / 4](L2_PAGE + look / 4, vmid);

			__GUEST_ASSERT(l2_load(L2_PAGE) == turn * look / 4096,
				       "size %lx, fence %d", size, i / 4);
			if (size > 4096)
				__GUEST_ASSERT(l2_load(L2_PAGE + other) ==
					       (turn * look + other) / 4096,
					       "size %lx, fence %d, other address", size, i / 4);
		}
		if (level != 3)
			*pte = 0;
		nested_hfence_gvma();
	}
	GUEST_DONE();
}

/* --- Many virtual machines ---------------------------------------------- */

#define MACHINES	24
#define MACHINE_SIZE	(32 * 1024)
#define VALUE(__vm, __turn)	(0xabcd0000UL + (__turn) * 256 + (__vm))

/*
 * Each has a root of its own, with the program as in the common one, and a page
 * of its own. That page moves now and then.
 */
static void l1_machines(void)
{
	struct nested_pgt pgt[MACHINES];
	u64 n, turn, page, hgatp;

	l2_init();
	for (n = 0; n < MACHINES; n++) {
		pgt[n] = nested_pgt;
		pgt[n].mem = (void *)(NESTED_L2_ADDR + n * MACHINE_SIZE);
		pgt[n].gpa = NESTED_TEST_GPA + n * MACHINE_SIZE;
		memcpy(pgt[n].mem, nested_pgt.mem, 16384);
		pgt[n].next = 16384;
	}

	for (turn = 0; turn < 20; turn++) {
		for (n = 0; n < MACHINES; n++) {
			/* Odd turns go the other way, the last ones stay with a few */
			u64 m = turn & 1 ? MACHINES - 1 - n : n;

			if (turn >= 16)
				m %= 3;

			page = MACHINES * MACHINE_SIZE / 4096 + m * 2 + turn / 4 % 2;
			*l1_mem(page) = VALUE(m, turn);
			hgatp = HGATP_MODE_SV39X4 << HGATP_MODE_SHIFT |
				(m + 1) << HGATP_VMID_SHIFT | pgt[m].gpa >> 12;
			csr_write(CSR_HGATP, hgatp);
			nested_map(&pgt[m], L2_PAGE, MEM(page, 4096), 0, RWX);
			if (turn % 4 == 0)
				nested_hfence_gvma_vmid(m + 1);
			__GUEST_ASSERT(l2_load(L2_PAGE) == VALUE(m, turn),
				       "machine %lu, turn %lu: %lx", m, turn, READ_ONCE(cmd.value));
		}
	}
	GUEST_DONE();
}

/* Hgatps without number: 14 bits of VMID, for one and the same table */
static void l1_vmids(void)
{
	u64 i, value;

	l2_init();
	nested_map(&nested_pgt, L2_PAGE, MEM(0, 4096), 0, RWX);
	for (i = 0; i < 2000; i++) {
		csr_write(CSR_HGATP, nested_hgatp(i * 7 % 16384));
		*l1_mem(0) = i;
		GUEST_ASSERT_EQ(l2_load(L2_PAGE), i);
	}

	/* L2's addresses are L1's in Bare mode, where L2 has no code here */
	for (i = 0; i < 3; i++) {
		csr_write(CSR_HGATP, 0);
		*l1_mem(i) = i + 0x600d;
		/* hlv.d */
		asm volatile(".insn r 0x73, 4, 0x36, %0, %1, x0"
			     : "=r" (value) : "r" (MEM(i, 4096)) : "memory");
		GUEST_ASSERT_EQ(value, i + 0x600d);
		csr_write(CSR_HGATP, nested_hgatp(i));
		GUEST_ASSERT_EQ(l2_load(L2_PAGE), 0x600d);
	}
	GUEST_DONE();
}

/* --- Many page tables ---------------------------------------------------- */

#define MANY		6000
#define MANY_PAGE(__i)	((__i) * 37 % 512)

/* Each address needs a page table of L0's, because L0's pages are small */
static void l1_many(void)
{
	u64 i, turn;

	l2_init();
	for (i = 0; i < 512; i++)
		*l1_mem(i) = i;
	for (i = 0; i < MANY; i++)
		nested_map(&nested_pgt, L2_MANY + i * SZ_2M, NESTED_TEST_GPA, 1, RWX);
	for (turn = 0; turn < 2; turn++) {
		for (i = 0; i < MANY; i++)
			GUEST_ASSERT_EQ(l2_load(L2_MANY + i * SZ_2M + MANY_PAGE(i) * 4096),
					MANY_PAGE(i));
	}
	GUEST_SYNC(0);

	/* Userspace took it all away */
	for (i = 0; i < MANY; i += 100)
		GUEST_ASSERT_EQ(l2_load(L2_MANY + i * SZ_2M + MANY_PAGE(i) * 4096), 0);
	GUEST_SYNC(1);
	nested_hfence_gvma();
	GUEST_DONE();
}

/* --- Two vCPUs that share a shadow ---------------------------------------- */

#define SHARED_PAGES	16
#define SHARED_TURNS	3000

static u64 turn_done, l2_ready, quit;
static struct nested_ctx ctx2;

/*
 * Page n of L1's memory holds n. L1 on the first vCPU moves L2's pages on, one
 * in each turn, and tells L2 on the second one after the fence.
 */
static void l2_watch(void)
{
	u64 turn, value, page;

	WRITE_ONCE(l2_ready, 1);
	while (!READ_ONCE(quit)) {
		turn = READ_ONCE(turn_done);
		if (!turn)
			continue;
		asm volatile("fence" ::: "memory");
		page = turn % SHARED_PAGES;
		value = READ_ONCE(*(u64 *)(L2_PAGE + page * 4096));
		if (value < turn)
			nested_l2_call(turn << 32 | value);
	}
	nested_l2_call(0);
}

static void l1_watch(void)
{
	nested_init(&ctx2, l2_watch);
	ctx2.x[2] = (u64)(l2_stack2 + ARRAY_SIZE(l2_stack2));
	nested_run(&ctx2);
	GUEST_ASSERT_EQ(ctx2.scause, CAUSE_ECALL_VS);
	__GUEST_ASSERT(!ctx2.x[10], "turn %lu: value %lu", ctx2.x[10] >> 32,
		       ctx2.x[10] & 0xffffffff);
	GUEST_DONE();
}

static void l1_move(void)
{
	u64 i, page;

	for (i = 0; i < 1024; i++)
		*l1_mem(i) = 0;
	for (i = 0; i < SHARED_PAGES; i++)
		nested_map(&nested_pgt, L2_PAGE + i * 4096, MEM(i, 4096), 0, RWX);
	l2_init();
	GUEST_SYNC(0);
	while (!READ_ONCE(l2_ready))
		;

	for (i = 1; i < SHARED_TURNS; i++) {
		page = i % SHARED_PAGES;
		/* Between two pages of L1, of which one is stale */
		*l1_mem(page * 2 + (i / SHARED_PAGES & 1) + 32) = i;
		nested_map(&nested_pgt, L2_PAGE + page * 4096,
			   MEM(page * 2 + (i / SHARED_PAGES & 1) + 32, 4096), 0,
			   i & 64 ? RWX : RWX & ~W);
		if (i & 1)
			rfence(RFENCE_GVMA, L2_PAGE + page * 4096, 4096, 0);
		else
			rfence(RFENCE_GVMA_VMID, L2_PAGE + page * 4096, 4096, 1);
		asm volatile("fence" ::: "memory");
		WRITE_ONCE(turn_done, i);
		/* This vCPU uses the same shadow at times */
		if (i % 32 == 0)
			GUEST_ASSERT_EQ(l2_load(L2_PAGE + page * 4096), i);
	}
	WRITE_ONCE(quit, 1);
	GUEST_DONE();
}

/* --- Host side ------------------------------------------------------------ */

static u64 run(struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	vcpu_run(vcpu);
	switch (get_ucall(vcpu, &uc)) {
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
	case UCALL_SYNC:
	case UCALL_DONE:
		return uc.cmd;
	default:
		TEST_FAIL("exit %d", vcpu->run->exit_reason);
	}
}

static void *run_thread(void *vcpu)
{
	TEST_ASSERT(run(vcpu) == UCALL_DONE, "L1 is not done");
	return NULL;
}

static void host_done(struct kvm_vm *vm, struct kvm_vcpu *vcpu)
{
	TEST_ASSERT(run(vcpu) == UCALL_DONE, "L1 is not done");
}

static void host_fences(struct kvm_vm *vm, struct kvm_vcpu *vcpu)
{
	u64 *mem;
	int i;

	/* Memory for the second leaf of 1 GiB */
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, SECOND_GIG, 2,
				    NESTED_TEST_PAGES, 0);
	mem = addr_gpa2hva(vm, SECOND_GIG);
	for (i = 0; i < NESTED_TEST_PAGES; i++)
		mem[i * 512] = i + 512;
	host_done(vm, vcpu);
	ksft_print_msg("%lu stale translations before the fence\n",
		       *(u64 *)addr_gva2hva(vm, (gva_t)&stale));
}

/* More than the documentation allows for a VM as small as this one */
#define MANY_LIMIT	1000

static void host_many(struct kvm_vm *vm, struct kvm_vcpu *vcpu)
{
	u64 tables;

	TEST_ASSERT(run(vcpu) == UCALL_SYNC, "L1 is done already");
	tables = vm_get_stat(vm, nested_shadow_tables);
	TEST_ASSERT(tables && tables < MANY_LIMIT, "%lu page tables", tables);
	TEST_ASSERT(vm_get_stat(vm, nested_shadow_overflows) >= 2 * MANY / MANY_LIMIT,
		    "%lu overflows", vm_get_stat(vm, nested_shadow_overflows));

	/* The tables stay, for what they map next */
	madvise(addr_gpa2hva(vm, NESTED_TEST_GPA), NESTED_TEST_PAGES * 4096, MADV_DONTNEED);
	TEST_ASSERT(run(vcpu) == UCALL_SYNC, "L1 is done already");
	TEST_ASSERT(vm_get_stat(vm, nested_shadow_tables), "no page tables");
	host_done(vm, vcpu);
	TEST_ASSERT(!vm_get_stat(vm, nested_shadow_tables), "%lu page tables left",
		    vm_get_stat(vm, nested_shadow_tables));
}

static void host_shared(struct kvm_vm *vm, struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu *vcpu2 = vm_vcpu_add(vm, 1, l1_watch);
	pthread_t thread;

	vcpu_init_vector_tables(vcpu2);
	TEST_ASSERT(run(vcpu) == UCALL_SYNC, "L1 is done already");
	pthread_create(&thread, NULL, run_thread, vcpu2);
	host_done(vm, vcpu);
	pthread_join(thread, NULL);
}

static const struct {
	const char *name;
	void (*l1)(void);
	void (*host)(struct kvm_vm *vm, struct kvm_vcpu *vcpu);
} tests[] = {
	{ "permissions, A and D", l1_perms, host_done },
	{ "malformed entries", l1_malformed, host_done },
	{ "fences", l1_fences, host_fences },
	{ "many virtual machines", l1_machines, host_done },
	{ "many VMIDs", l1_vmids, host_done },
	{ "many page tables", l1_many, host_many },
	{ "two vCPUs on a shadow", l1_move, host_shared },
};

static void run_test(int i, enum vm_mem_backing_src_type src)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = nested_vm_create(&vcpu, tests[i].l1, src);

#define HAS(__ext)	__vcpu_has_isa_ext(vcpu, KVM_RISCV_ISA_EXT_##__ext)
	*(bool *)addr_gva2hva(vm, (gva_t)&has_adue) = HAS(SVADU) && !HAS(SVADE);
	*(bool *)addr_gva2hva(vm, (gva_t)&has_svinval) = HAS(SVINVAL);
	*(bool *)addr_gva2hva(vm, (gva_t)&has_svnapot) = HAS(SVNAPOT);
	tests[i].host(vm, vcpu);
	kvm_vm_free(vm);
}

int main(void)
{
	int i;

	ksft_print_header();
	if (!nested_supported())
		ksft_exit_skip("KVM does not offer the H extension, see kvm.nested\n");

	/* Page tables are few if the pages of L0 are large */
	ksft_set_plan(ARRAY_SIZE(tests) * 2 - 1);
	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		run_test(i, VM_MEM_SRC_ANONYMOUS);
		ksft_test_result_pass("%s, L0 4K\n", tests[i].name);
		if (tests[i].l1 == l1_many)
			continue;
		run_test(i, VM_MEM_SRC_ANONYMOUS_THP);
		ksft_test_result_pass("%s, L0 THP\n", tests[i].name);
	}
	ksft_finished();
}
