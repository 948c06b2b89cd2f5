/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An L1 that uses SBI nested acceleration (SBI 3.0, chapter 15), with whatever
 * set of features userspace offers it.
 */
#ifndef SELFTEST_KVM_NESTED_NACL_H
#define SELFTEST_KVM_NESTED_NACL_H

#include "kvm_util.h"
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

/* The memory for it is in two memslots */
#define SHMEM_GPA		0x300000000UL
#define SHMEM_SLOT		2
#define SHMEM_PAGES		3

/* Offsets of 64-bit words */
#define AUTOSWAP_WORD		(0x200 / 8)
#define HFENCE_WORD(__n)	(0x800 / 8 + (__n) * 4)
#define NR_HFENCES		60
#define DIRTY_WORD		(0xf80 / 8)
#define CSR_WORD(__csr)		(0x1000 / 8 + CSR_INDEX(__csr))
#define CSR_INDEX(__csr)	((((__csr) & 0xc00) >> 2) | ((__csr) & 0xff))

enum { GVMA, GVMA_ALL, GVMA_VMID, GVMA_VMID_ALL, VVMA, VVMA_ALL, VVMA_ASID, VVMA_ASID_ALL };

#define HFENCE_PENDING		BIT(63)
#define HFENCE_CONFIG(__type, __order, __vmid, __asid)			\
	(HFENCE_PENDING | (u64)(__type) << 56 | (u64)(__order) << 48 |	\
	 (u64)(__vmid) << 16 | (__asid))

static inline u64 nacl_reg(unsigned int i)
{
	return KVM_REG_RISCV | KVM_REG_SIZE_U64 | KVM_REG_RISCV_SBI_STATE |
	       KVM_REG_RISCV_SBI_NACL | i;
}

#define NACL_REG(__name)	nacl_reg(KVM_REG_RISCV_SBI_NACL_REG(__name))

/* Host side: memory that L1 can use */
static inline void nacl_add_memory(struct kvm_vm *vm)
{
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, SHMEM_GPA, SHMEM_SLOT, 1, 0);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, SHMEM_GPA + 4096,
				    SHMEM_SLOT + 1, SHMEM_PAGES - 1, 0);
	virt_map(vm, SHMEM_GPA, SHMEM_GPA, SHMEM_PAGES);
}

/**
 * struct nacl - what L1 knows of its shared memory
 *
 * @mem: virtual address of it, or NULL if L1 does not use the extension
 * @features: features that it was offered, by their IDs
 */
struct nacl {
	u64 *mem;
	u64 features;
};

static inline long nacl_call(int fid, u64 a0, u64 a1, u64 a2)
{
	return sbi_ecall(SBI_EXT_NACL, fid, a0, a1, a2, 0, 0, 0).error;
}

static inline void nacl_init(struct nacl *n, u64 features)
{
	n->mem = (void *)SHMEM_GPA;
	n->features = features;
	GUEST_ASSERT_EQ(nacl_call(SET_SHMEM, SHMEM_GPA, 0, 0), SBI_SUCCESS);
}

static inline bool nacl_has(struct nacl *n, int feature)
{
	return n->mem && n->features & BIT(feature);
}

static inline bool nacl_is_dirty(struct nacl *n, unsigned int csr)
{
	return READ_ONCE(n->mem[DIRTY_WORD + CSR_INDEX(csr) / 64]) >>
	       (CSR_INDEX(csr) % 64) & 1;
}

static inline void nacl_mark(struct nacl *n, unsigned int csr, u64 val)
{
	WRITE_ONCE(n->mem[CSR_WORD(csr)], val);
	n->mem[DIRTY_WORD + CSR_INDEX(csr) / 64] |= BIT(CSR_INDEX(csr) % 64);
	barrier();
}

/* Carry out now what SYNC_SRET would do */
static inline void nacl_sync(struct nacl *n)
{
	if (nacl_has(n, FEAT_CSR))
		GUEST_ASSERT_EQ(nacl_call(SYNC_CSR, -1, 0, 0), SBI_SUCCESS);
	if (nacl_has(n, FEAT_HFENCE))
		GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, -1, 0, 0), SBI_SUCCESS);
}

/* Put an HFENCE where there is room for it */
static inline unsigned int nacl_hfence(struct nacl *n, u64 config, u64 pnum, u64 pcount)
{
	unsigned int i;

	for (i = 0; ; i++) {
		if (i == NR_HFENCES) {
			GUEST_ASSERT_EQ(nacl_call(SYNC_HFENCE, -1, 0, 0), SBI_SUCCESS);
			i = 0;
		}
		if (!(READ_ONCE(n->mem[HFENCE_WORD(i)]) & HFENCE_PENDING))
			break;
	}

	WRITE_ONCE(n->mem[HFENCE_WORD(i) + 1], pnum);
	WRITE_ONCE(n->mem[HFENCE_WORD(i) + 3], pcount);
	WRITE_ONCE(n->mem[HFENCE_WORD(i)], config);
	barrier();

	return i;
}

/* nested_run() with the features that there are */
static inline void nacl_run(struct nacl *n, struct nested_ctx *ctx)
{
	u64 old;
	int i;

	if (!nacl_has(n, FEAT_SRET)) {
		nacl_sync(n);
		/* The autoswap context is looked at when L2 is left */
		if (nacl_has(n, FEAT_AUTOSWAP))
			WRITE_ONCE(n->mem[AUTOSWAP_WORD], 0);
		nested_run(ctx);
		return;
	}

	/* There is no x0 */
	WRITE_ONCE(n->mem[0], -1UL);
	for (i = 1; i < 32; i++)
		WRITE_ONCE(n->mem[i], ctx->x[i]);
	old = csr_read(CSR_HSTATUS);
	if (nacl_has(n, FEAT_AUTOSWAP)) {
		WRITE_ONCE(n->mem[AUTOSWAP_WORD + 1], ctx->hstatus);
		WRITE_ONCE(n->mem[AUTOSWAP_WORD], 1);
	} else if (nacl_has(n, FEAT_CSR)) {
		nacl_mark(n, CSR_HSTATUS, ctx->hstatus);
	} else {
		csr_write(CSR_HSTATUS, ctx->hstatus);
	}

	GUEST_ASSERT_EQ(nested_run_sync_sret(ctx), (long)ctx);

	if (nacl_has(n, FEAT_AUTOSWAP)) {
		/* Swapped on the way there, and back with what the trap made of it */
		GUEST_ASSERT_EQ(ctx->hstatus, old);
		ctx->hstatus = READ_ONCE(n->mem[AUTOSWAP_WORD + 1]);
		WRITE_ONCE(n->mem[AUTOSWAP_WORD], 0);
	}
}

#endif
