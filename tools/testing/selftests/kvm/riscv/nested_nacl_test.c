// SPDX-License-Identifier: GPL-2.0-only
/*
 * SBI nested acceleration (SBI 3.0, chapter 15) as KVM provides it.
 *
 * L1 checks every function for each of the 16 sets of features that userspace
 * can offer, and runs the same L2 with whatever it has. What it sees of L2 must
 * not depend on that. Then the shared memory changes under its feet.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "kvm_util.h"
#include "kselftest.h"
#include "processor.h"
#include "nested.h"
#include "sbi.h"
#include "ucall_common.h"

#define SBI_EXT_NACL		0x4e41434c

#ifndef SBI_ERR_NO_SHMEM
#define SBI_ERR_NO_SHMEM	-9
#endif

enum { PROBE_FEATURE, SET_SHMEM, SYNC_CSR, SYNC_HFENCE, SYNC_SRET };
enum { FEAT_CSR, FEAT_HFENCE, FEAT_SRET, FEAT_AUTOSWAP, NR_FEATS };

/* The memory for it is in two memslots, a third one cannot be written */
#define SHMEM_GPA		0x300000000UL
#define SHMEM_SLOT		2
#define SHMEM_PAGES		3
#define RO_GPA			0x310000000UL
#define RO_SLOT			4

#define AUTOSWAP_WORD		(0x200 / 8)
#define HFENCE_WORD(n)		(0x800 / 8 + (n) * 4)
#define NR_HFENCES		60
#define DIRTY_WORD		(0xf80 / 8)
#define CSR_WORD(csr)		(0x1000 / 8 + CSR_INDEX(csr))
#define CSR_INDEX(csr)		((((csr) & 0xc00) >> 2) | ((csr) & 0xff))

#define HFENCE_PENDING		BIT(63)
#define HFENCE_CONFIG(type, order, vmid, asid)				\
	(HFENCE_PENDING | (u64)(type) << 56 | (u64)(order) << 48 |	\
	 (u64)(vmid) << 16 | (asid))

#define CSR_VSSCRATCH		0x240
#define CSR_HEDELEG		0x602
#define CSR_HGEIP		0xe12

#define L2_UNMAPPED		(NESTED_L2_ADDR + 0x12345000UL)
#define L2_PAGE			NESTED_L2_ADDR

struct trace {
	u64 scause, stval, htval, htinst, hstatus, sepc, a0;
};

/* Filled in by L1 */
static struct trace traces[16];
static unsigned int nr_traces;
static u64 errors_seen;

static struct nested_ctx ctx;
static u64 features;

/* Calls of L1 to L0 are barriers for the compiler */
static u64 *const shmem = (void *)SHMEM_GPA;

static long nacl_call(int fid, u64 a0, u64 a1, u64 a2)
{
	return sbi_ecall(SBI_EXT_NACL, fid, a0, a1, a2, 0, 0, 0).error;
}

static bool has(int feature)
{
	return features & BIT(feature);
}

static bool is_dirty(unsigned int csr)
{
	return shmem[DIRTY_WORD + CSR_INDEX(csr) / 64] >> (CSR_INDEX(csr) % 64) & 1;
}

static void mark(unsigned int csr, u64 val)
{
	shmem[CSR_WORD(csr)] = val;
	shmem[DIRTY_WORD + CSR_INDEX(csr) / 64] |= BIT(CSR_INDEX(csr) % 64);
}

static void l2_code(void)
{
	u64 val;

	nested_l2_call(1);
	asm volatile(".option push\n.option norvc\nld %0, 0(%1)\n.option pop"
		     : "=r" (val) : "r" (L2_UNMAPPED));
	/* hstatus is none of its business */
	asm volatile("csrr %0, 0x600" : "=r" (val));
	asm volatile(".word 0");
	csr_write(CSR_SSCRATCH, 0x5c5c5c5c);
	nested_l2_call(2);
	for (;;)
		nested_l2_call(READ_ONCE(*(u64 *)L2_PAGE));
}

static void run_l2(void)
{
	u64 old, swapped;
	int i;

	if (!has(FEAT_SRET)) {
		/* The autoswap context is looked at when L2 is left */
		if (has(FEAT_AUTOSWAP))
			shmem[AUTOSWAP_WORD] = 0;
		nested_run(&ctx);
	} else {
		for (i = 1; i < 32; i++)
			shmem[i] = ctx.x[i];
		old = csr_read(CSR_HSTATUS);
		if (has(FEAT_AUTOSWAP)) {
			shmem[AUTOSWAP_WORD + 1] = ctx.hstatus;
			shmem[AUTOSWAP_WORD] = 1;
		} else if (has(FEAT_CSR)) {
			mark(CSR_HSTATUS, ctx.hstatus);
		} else {
			csr_write(CSR_HSTATUS, ctx.hstatus);
		}
		GUEST_ASSERT_EQ(nested_run_sync_sret(&ctx), (long)&ctx);
		if (has(FEAT_AUTOSWAP)) {
			GUEST_ASSERT_EQ(ctx.hstatus, old);
			swapped = shmem[AUTOSWAP_WORD + 1];
			ctx.hstatus = swapped;
		}
	}

	/* What a trap from L2 changes is in CSR space */
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HTVAL)], ctx.htval);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HTINST)], ctx.htinst);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HSTATUS)], csr_read(CSR_HSTATUS));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_VSSTATUS)], csr_read(CSR_VSSTATUS));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_VSSCRATCH)], csr_read(CSR_VSSCRATCH));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_VSIE)], csr_read(CSR_VSIE));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HVIP)], csr_read(CSR_HVIP));

	if (nr_traces < ARRAY_SIZE(traces))
		traces[nr_traces++] = (struct trace) {
			.scause = ctx.scause, .stval = ctx.stval, .htval = ctx.htval,
			.htinst = ctx.htinst, .hstatus = ctx.hstatus,
			.sepc = ctx.sepc, .a0 = ctx.x[10],
		};
	ctx.sepc += 4;
	ctx.hstatus |= HSTATUS_SPV | HSTATUS_SPVP;
}

static void check_probe(void)
{
	struct sbiret ret;
	u64 i;

	for (i = 0; i < 8; i++) {
		ret = sbi_ecall(SBI_EXT_NACL, PROBE_FEATURE, i, 0, 0, 0, 0, 0);
		GUEST_ASSERT_EQ(ret.error, SBI_SUCCESS);
		GUEST_ASSERT_EQ((u64)ret.value, features >> i & 1);
	}
	/* A feature ID has 32 bits */
	ret = sbi_ecall(SBI_EXT_NACL, PROBE_FEATURE, BIT(32), 0, 0, 0, 0, 0);
	GUEST_ASSERT_EQ((u64)ret.value, features & 1);
	GUEST_ASSERT_EQ(nacl_call(5, 0, 0, 0), SBI_ERR_NOT_SUPPORTED);
	GUEST_ASSERT_EQ(nacl_call(-1, 0, 0, 0), SBI_ERR_NOT_SUPPORTED);
}

/* Errors, with or without shared memory; @none is what a good call returns */
static void check_errors(long none)
{
	static const u64 bad_csrs[] = { 0x300, 0x100, 0x000, 0x1200, 0x2ff, BIT(40) | 0x600 };
	long err;
	u64 i;

	err = has(FEAT_CSR) ? SBI_ERR_INVALID_PARAM : SBI_ERR_NOT_SUPPORTED;
	for (i = 0; i < ARRAY_SIZE(bad_csrs); i++)
		GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, bad_csrs[i], 0, 0), err);
	err = has(FEAT_CSR) ? none : SBI_ERR_NOT_SUPPORTED;
	GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, CSR_HSTATUS, 0, 0), err);
	GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, -1, 0, 0), err);

	err = has(FEAT_HFENCE) ? SBI_ERR_INVALID_PARAM : SBI_ERR_NOT_SUPPORTED;
	GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, NR_HFENCES, 0, 0), err);
	GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, -2, 0, 0), err);
	err = has(FEAT_HFENCE) ? none : SBI_ERR_NOT_SUPPORTED;
	GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, NR_HFENCES - 1, 0, 0), err);
	GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, -1, 0, 0), err);

	if (none || !has(FEAT_SRET)) {
		err = has(FEAT_SRET) ? none : SBI_ERR_NOT_SUPPORTED;
		GUEST_ASSERT_EQ(nacl_call(SYNC_SRET, 0, 0, 0), err);
	}
}

static void check_set_shmem(void)
{
	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, SHMEM_GPA, 0, 1), SBI_ERR_INVALID_PARAM);
	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, -1, -1, 1), SBI_ERR_INVALID_PARAM);
	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, SHMEM_GPA + 8, 0, 0), SBI_ERR_INVALID_PARAM);
	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, SHMEM_GPA, 1, 0), SBI_ERR_INVALID_ADDRESS);
	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, -4096UL, 0, 0), SBI_ERR_INVALID_ADDRESS);
	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, NESTED_MMIO_GPA, 0, 0), SBI_ERR_INVALID_ADDRESS);
	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, RO_GPA, 0, 0), SBI_ERR_INVALID_ADDRESS);
	/* The last page is not there */
	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, SHMEM_GPA + 4096, 0, 0), SBI_ERR_INVALID_ADDRESS);
	check_errors(SBI_ERR_NO_SHMEM);

	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, SHMEM_GPA, 0, 0), SBI_SUCCESS);
	check_errors(SBI_SUCCESS);
	/* One that fails leaves the one before alone */
	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, RO_GPA, 0, 0), SBI_ERR_INVALID_ADDRESS);
	check_errors(SBI_SUCCESS);
	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, -1, -1, 0), SBI_SUCCESS);
	check_errors(SBI_ERR_NO_SHMEM);

	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, SHMEM_GPA, 0, 0), SBI_SUCCESS);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HSTATUS)], csr_read(CSR_HSTATUS));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HGATP)], csr_read(CSR_HGATP));
}

static void check_csrs(void)
{
	/* CSR space follows a CSR instruction, and the windows on the CSR */
	csr_write(CSR_HTVAL, 0x1234);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HTVAL)], 0x1234);
	csr_write(CSR_HIDELEG, 0x444);
	csr_write(CSR_HVIP, BIT(2));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HVIP)], BIT(2));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HIP)], BIT(2));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_VSIP)], BIT(1));
	csr_write(CSR_HVIP, 0);

	mark(CSR_HTVAL, 0x77);
	if (!has(FEAT_CSR)) {
		shmem[DIRTY_WORD + CSR_INDEX(CSR_HTVAL) / 64] = 0;
		return;
	}

	/* One: the others wait */
	mark(CSR_VSSCRATCH, 0x99);
	GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, CSR_HTVAL, 0, 0), SBI_SUCCESS);
	GUEST_ASSERT(!is_dirty(CSR_HTVAL));
	GUEST_ASSERT(is_dirty(CSR_VSSCRATCH));
	GUEST_ASSERT_EQ(csr_read(CSR_HTVAL), 0x77);
	GUEST_ASSERT_NE(csr_read(CSR_VSSCRATCH), 0x99);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_VSSCRATCH)], 0x99);

	/* All: fields that cannot be written, windows, a read-only CSR, none */
	mark(CSR_HEDELEG, -1UL);
	mark(CSR_HVIP, BIT(2) | BIT(6));
	mark(CSR_VSIE, -1UL);
	mark(CSR_HIDELEG, BIT(2));
	mark(CSR_HIE, 0);
	mark(CSR_HGEIP, -1UL);
	mark(0x2ff, 5);
	shmem[CSR_WORD(CSR_HIP)] = -1UL;
	GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, -1, 0, 0), SBI_SUCCESS);
	GUEST_ASSERT_EQ(csr_read(CSR_VSSCRATCH), 0x99);
	GUEST_ASSERT(!is_dirty(CSR_HEDELEG) && !is_dirty(CSR_HVIP) && !is_dirty(CSR_HGEIP));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HEDELEG)], csr_read(CSR_HEDELEG));
	GUEST_ASSERT_NE(csr_read(CSR_HEDELEG), -1UL);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HIP)], BIT(2) | BIT(6));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_VSIP)], BIT(1));
	/* hideleg and hie are synchronized before vsie, a window on both */
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_VSIE)], BIT(1));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HIE)], BIT(2));
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HGEIP)], 0);

	csr_write(CSR_HEDELEG, 0);
	csr_write(CSR_HVIP, 0);
	csr_write(CSR_HIE, 0);
	csr_write(CSR_HIDELEG, 0);
	shmem[DIRTY_WORD + CSR_INDEX(0x2ff) / 64] = 0;
}

static void expect_page(u64 val)
{
	run_l2();
	GUEST_ASSERT_EQ(ctx.scause, 10);
	GUEST_ASSERT_EQ(ctx.x[10], val);
}

static void sync_hfences(void)
{
	if (has(FEAT_SRET))
		return;
	GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, -1, 0, 0), SBI_SUCCESS);
}

/* Every type that acts on the G-stage makes a new leaf visible */
static void check_hfences(void)
{
	u64 *pte = nested_map(&nested_pgt, L2_PAGE, NESTED_TEST_GPA, 0, NESTED_PTE_RWX);
	u64 leaf[2] = { *pte, *pte + (1UL << 10) };
	unsigned int type, n = 0, i;

	*(u64 *)NESTED_L2_ADDR = 100;
	*(u64 *)(NESTED_L2_ADDR + 4096) = 101;
	nested_hfence_gvma();
	expect_page(100);
	if (!has(FEAT_HFENCE))
		return;

	for (type = 0; type < 4; type++) {
		WRITE_ONCE(*pte, leaf[++n % 2]);
		i = n * 13 % NR_HFENCES;
		shmem[HFENCE_WORD(i) + 1] = type & 1 ? 0 : L2_PAGE >> 12;
		shmem[HFENCE_WORD(i) + 3] = type & 1 ? 0 : 1;
		shmem[HFENCE_WORD(i)] = HFENCE_CONFIG(type, 0, type & 2 ? 1 : 0, 0);
		sync_hfences();
		expect_page(100 + n % 2);
		GUEST_ASSERT_EQ(shmem[HFENCE_WORD(i)] & HFENCE_PENDING, 0);
	}

	/* A huge count, and sizes that fit into no address, cover everything */
	for (i = 0; i < 3; i++) {
		WRITE_ONCE(*pte, leaf[++n % 2]);
		shmem[HFENCE_WORD(i) + 1] = i == 2 ? -1UL : 0;
		shmem[HFENCE_WORD(i) + 3] = i ? 1 : -1UL;
		shmem[HFENCE_WORD(i)] = HFENCE_CONFIG(0, i == 1 ? 127 : 0, 0, 0);
		sync_hfences();
		expect_page(100 + n % 2);
	}

	/* Those of the VS-stage, a reserved type, and all entries at once */
	for (i = 0; i < NR_HFENCES; i++) {
		shmem[HFENCE_WORD(i) + 1] = i * 77;
		shmem[HFENCE_WORD(i) + 3] = i;
		shmem[HFENCE_WORD(i)] = HFENCE_CONFIG(i < 16 ? i : 4 + i % 4, i, 1, i);
	}
	sync_hfences();
	expect_page(100 + n % 2);
	for (i = 0; i < NR_HFENCES; i++)
		GUEST_ASSERT_EQ(shmem[HFENCE_WORD(i)] & HFENCE_PENDING, 0);
}

static void l1_code(u64 feats)
{
	int i;

	features = feats;
	check_probe();
	nested_init(&ctx, l2_code);
	check_set_shmem();
	check_csrs();

	nr_traces = 0;
	for (i = 0; i < 5; i++)
		run_l2();
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_VSSCRATCH)], 0x5c5c5c5c);
	check_hfences();

	/* Without shared memory nothing is written any more */
	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, -1, -1, 0), SBI_SUCCESS);
	shmem[CSR_WORD(CSR_HTVAL)] = 1;
	csr_write(CSR_HTVAL, 2);
	GUEST_ASSERT_EQ(shmem[CSR_WORD(CSR_HTVAL)], 1);
	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, SHMEM_GPA, 0, 0), SBI_SUCCESS);
	GUEST_DONE();
}

static u64 nacl_reg(unsigned int i)
{
	return KVM_REG_RISCV | KVM_REG_SIZE_U64 | KVM_REG_RISCV_SBI_STATE |
	       KVM_REG_RISCV_SBI_NACL | i;
}

#define NACL_REG(name)	nacl_reg(KVM_REG_RISCV_SBI_NACL_REG(name))

static struct kvm_vm *create_vm(struct kvm_vcpu **vcpu, void *code)
{
	struct kvm_vm *vm = nested_vm_create(vcpu, code, VM_MEM_SRC_ANONYMOUS);

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, SHMEM_GPA, SHMEM_SLOT, 1, 0);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, SHMEM_GPA + 4096,
				    SHMEM_SLOT + 1, SHMEM_PAGES - 1, 0);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, RO_GPA, RO_SLOT,
				    SHMEM_PAGES, KVM_MEM_READONLY);
	virt_map(vm, SHMEM_GPA, SHMEM_GPA, SHMEM_PAGES);
	return vm;
}

static void run_to_end(struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	vcpu_run(vcpu);
	switch (get_ucall(vcpu, &uc)) {
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
		break;
	case UCALL_DONE:
		return;
	default:
		TEST_FAIL("unexpected exit %u", vcpu->run->exit_reason);
	}
}

static struct trace first[ARRAY_SIZE(traces)];

static void test_features(u64 feats)
{
	struct trace *here;
	struct kvm_vcpu *vcpu;
	unsigned int n, i;
	struct kvm_vm *vm;

	vm = create_vm(&vcpu, l1_code);
	vcpu_set_reg(vcpu, NACL_REG(features), feats);
	vcpu_args_set(vcpu, 1, feats);
	run_to_end(vcpu);
	TEST_ASSERT_EQ(vcpu_get_reg(vcpu, NACL_REG(shmem_lo)), SHMEM_GPA);

	here = addr_gva2hva(vm, (gva_t)traces);
	n = *(unsigned int *)addr_gva2hva(vm, (gva_t)&nr_traces);
	TEST_ASSERT(n >= 5, "%u exits of L2", n);
	if (!feats)
		memcpy(first, here, sizeof(first));
	/* The first five are the same whatever L1 has */
	for (i = 0; i < 5; i++)
		TEST_ASSERT(!memcmp(&first[i], &here[i], sizeof(first[i])),
			    "exit %u: scause %lx stval %lx htval %lx hstatus %lx sepc %lx a0 %lx, without features scause %lx stval %lx htval %lx hstatus %lx sepc %lx a0 %lx",
			    i, here[i].scause, here[i].stval, here[i].htval, here[i].hstatus,
			    here[i].sepc, here[i].a0, first[i].scause, first[i].stval,
			    first[i].htval, first[i].hstatus, first[i].sepc, first[i].a0);
	kvm_vm_free(vm);
	ksft_test_result_pass("features 0x%lx\n", (unsigned long)feats);
}

static void test_one_reg(void)
{
	u64 lo = NACL_REG(shmem_lo), hi = NACL_REG(shmem_hi), feats = NACL_REG(features);
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = create_vm(&vcpu, l1_code);
	TEST_ASSERT_EQ(vcpu_get_reg(vcpu, feats), 0xf);
	TEST_ASSERT_EQ(vcpu_get_reg(vcpu, lo), -1UL);
	TEST_ASSERT_EQ(vcpu_get_reg(vcpu, hi), 0);
	TEST_ASSERT(__vcpu_set_reg(vcpu, feats, 0x10) && errno == EINVAL, "unknown feature");
	TEST_ASSERT(__vcpu_set_reg(vcpu, lo, 0x1008) && errno == EINVAL, "not aligned");
	TEST_ASSERT(__vcpu_set_reg(vcpu, lo, -4096UL) && errno == EINVAL, "too high");
	TEST_ASSERT(__vcpu_set_reg(vcpu, hi, 1) && errno == EINVAL, "high half");
	vcpu_set_reg(vcpu, feats, 0xe);
	vcpu_args_set(vcpu, 1, 0xeUL);
	run_to_end(vcpu);
	TEST_ASSERT(__vcpu_set_reg(vcpu, feats, 0xf) && errno == EBUSY, "features are settled");
	vcpu_set_reg(vcpu, feats, 0xe);
	/* Where there is nothing shows when it is used */
	vcpu_set_reg(vcpu, lo, NESTED_MMIO_GPA);
	TEST_ASSERT_EQ(vcpu_get_reg(vcpu, lo), NESTED_MMIO_GPA);
	vcpu_set_reg(vcpu, lo, -1UL);
	kvm_vm_free(vm);
	ksft_test_result_pass("registers\n");
}

/* L1 keeps using shared memory that others play with */
static void l1_hostile_code(u64 rounds)
{
	unsigned long i;
	long err;

	features = 0xf;
	nested_init(&ctx, l2_code);
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
	}
	GUEST_DONE();
}

static atomic_bool stop;

static void *scribble(void *arg)
{
	u64 *mem[2] = { ((void **)arg)[0], ((void **)arg)[1] };
	unsigned int seed = 1;

	while (!atomic_load(&stop)) {
		unsigned int i = rand_r(&seed) % (512 * SHMEM_PAGES);
		u64 val = (u64)rand_r(&seed) << 33 ^ rand_r(&seed);

		/* Neither where L1 continues, nor an hgatp into the wild */
		if (i < 512)
			WRITE_ONCE(mem[0][i], val);
		else
			WRITE_ONCE(mem[1][i - 512], val);
	}
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

static void *migrate(void *arg)
{
	pthread_t vcpu_thread = *(pthread_t *)arg;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;
	int cpu = 0;

	while (!atomic_load(&stop)) {
		CPU_ZERO(&set);
		CPU_SET(cpu++ % cpus, &set);
		pthread_setaffinity_np(vcpu_thread, sizeof(set), &set);
		usleep(100);
	}
	return NULL;
}

static void test_hostile(const char *name, void *(*fn)(void *), void *(*fn2)(void *), int rounds)
{
	pthread_t threads[2], self = pthread_self();
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	void *mem[2], *arg;

	vm = create_vm(&vcpu, l1_hostile_code);
	mem[0] = addr_gpa2hva(vm, SHMEM_GPA);
	mem[1] = addr_gpa2hva(vm, SHMEM_GPA + 4096);
	vcpu_args_set(vcpu, 1, (u64)rounds);
	atomic_store(&stop, false);
	arg = fn == scribble ? (void *)mem : (void *)vm;
	pthread_create(&threads[0], NULL, fn, arg);
	pthread_create(&threads[1], NULL, fn2, &self);
	run_to_end(vcpu);
	atomic_store(&stop, true);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	ksft_print_msg("%s: %lu calls without shared memory\n", name,
		       (unsigned long)*(u64 *)addr_gva2hva(vm, (gva_t)&errors_seen));
	kvm_vm_free(vm);
	ksft_test_result_pass("%s\n", name);
}

int main(int argc, char *argv[])
{
	int rounds = argc > 1 ? atoi(argv[1]) : 2000;
	u64 feats;

	ksft_print_header();
	if (!nested_supported())
		ksft_exit_skip("KVM does not offer the H extension, see kvm.nested\n");
	ksft_set_plan((1 << NR_FEATS) + 3);

	test_one_reg();
	for (feats = 0; feats < 1 << NR_FEATS; feats++)
		test_features(feats);
	test_hostile("another writer", scribble, migrate, rounds);
	test_hostile("memslot comes and goes", replug, migrate, rounds);
	ksft_finished();
}
