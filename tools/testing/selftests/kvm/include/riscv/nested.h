/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small hypervisor that runs inside a VM of KVM.
 *
 * L1 is the guest of the test program, L2 a function of the same program that
 * L1 enters with V=1. L2 runs without VS-stage translation; its guest physical
 * addresses are the virtual addresses of L1, so that code, stack and data of
 * the program are where the compiler expects them.
 */
#ifndef SELFTEST_KVM_NESTED_H
#define SELFTEST_KVM_NESTED_H

#include "kvm_util.h"
#include "processor.h"

/* Memory of L1 that the tests play with: RAM, and an address without memory */
#define NESTED_TEST_GPA		0x100000000UL
#define NESTED_TEST_PAGES	1024
#define NESTED_MMIO_GPA		0x200000000UL

/* Where L2 finds it */
#define NESTED_L2_ADDR		0x1000000000UL

#define NESTED_PTE_V		BIT(0)
#define NESTED_PTE_R		BIT(1)
#define NESTED_PTE_W		BIT(2)
#define NESTED_PTE_X		BIT(3)
#define NESTED_PTE_U		BIT(4)
#define NESTED_PTE_A		BIT(6)
#define NESTED_PTE_D		BIT(7)
#define NESTED_PTE_RWX		(NESTED_PTE_V | NESTED_PTE_R | NESTED_PTE_W | \
				 NESTED_PTE_X | NESTED_PTE_U | NESTED_PTE_A | \
				 NESTED_PTE_D)

#define NESTED_NR_TABLES	64

/**
 * struct nested_pgt - G-stage page table of L1, mode Sv39x4
 *
 * @mem: where the tables are, for whoever uses the structure
 * @gpa: the same as guest physical address of L1
 * @next: offset of the first free byte
 */
struct nested_pgt {
	void *mem;
	u64 gpa;
	u64 next;
};

/**
 * struct nested_ctx - register state of L2, and why L1 got control back
 *
 * nested_run() knows the layout.
 */
struct nested_ctx {
	u64 x[32];
	u64 sepc;
	u64 hstatus;
	u64 sstatus;
	/* Written on exit */
	u64 scause;
	u64 stval;
	u64 htval;
	u64 htinst;
	/* L1's own registers while L2 runs */
	u64 l1[16];
};

extern struct nested_pgt nested_pgt;

/* Host side */
bool nested_supported(void);
struct kvm_vm *nested_vm_create(struct kvm_vcpu **vcpu, void *l1_code,
				enum vm_mem_backing_src_type src);

/* Both sides */
u64 *nested_map(struct nested_pgt *pgt, u64 gpa, u64 to, int level, u64 flags);

/* L1 side */
void nested_init(struct nested_ctx *ctx, void (*l2_code)(void));
void nested_run(struct nested_ctx *ctx);
u64 nested_hgatp(u64 vmid);

static inline void nested_hfence_gvma(void)
{
	/* hfence.gvma x0, x0 */
	asm volatile(".insn r 0x73, 0, 0x31, x0, x0, x0" ::: "memory");
}

static inline void nested_hfence_gvma_addr(u64 gpa)
{
	asm volatile(".insn r 0x73, 0, 0x31, x0, %0, x0" :: "r" (gpa >> 2) : "memory");
}

static inline void nested_hfence_gvma_vmid(u64 vmid)
{
	asm volatile(".insn r 0x73, 0, 0x31, x0, x0, %0" :: "r" (vmid) : "memory");
}

static inline void nested_hfence_gvma_addr_vmid(u64 gpa, u64 vmid)
{
	asm volatile(".insn r 0x73, 0, 0x31, x0, %0, %1"
		     :: "r" (gpa >> 2), "r" (vmid) : "memory");
}

static inline void nested_hfence_vvma(void)
{
	asm volatile(".insn r 0x73, 0, 0x11, x0, x0, x0" ::: "memory");
}

/* L2 side: give control to L1 with an argument */
static inline u64 nested_l2_call(u64 arg)
{
	register u64 a0 asm("a0") = arg;

	asm volatile("ecall" : "+r" (a0) :: "memory");
	return a0;
}

#endif
