// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: provider of SBI nested acceleration (SBI 3.0, chapter
 * 15) for a vCPU with the H extension.
 *
 * L1 puts CSR writes, HFENCEs and the registers of L2 into shared memory and has
 * them carried out by one call. The shared memory is as hostile as L1 is: every
 * word is read once, nothing that was read is trusted, and the work that it can
 * cause is bounded.
 *
 * The way back is lazy. What happens to CSRs of L1 marks words as out of date
 * (kvm_nested_nacl.stale), and leaving L2 asks for the autoswap context to be
 * looked at (kvm_nested_nacl.swap). Both are made good before L1 runs again.
 */

#include <linux/kvm_host.h>
#include <linux/nospec.h>
#include <asm/kvm_tlb.h>
#include <asm/kvm_vcpu_nested.h>
#include <asm/kvm_vcpu_sbi.h>
#include <asm/sbi.h>
#include "nested.h"

#define NACL_FEATURES		(BIT(SBI_NACL_FEAT_SYNC_CSR)	| \
				 BIT(SBI_NACL_FEAT_SYNC_HFENCE)	| \
				 BIT(SBI_NACL_FEAT_SYNC_SRET)	| \
				 BIT(SBI_NACL_FEAT_AUTOSWAP_CSR))

#define NACL_CSR_ALL		(~0UL)
#define NACL_HFENCE_ALL		(~0UL)
#define NACL_CSR_WORDS		(SBI_NACL_SHMEM_DBITMAP_SIZE / sizeof(u64))

/* Larger ranges are not worth the walk */
#define NACL_HFENCE_MAX_PAGES	512

static bool has_feature(struct kvm_vcpu *vcpu, unsigned int feature)
{
	return vcpu->arch.nested.nacl.features & BIT(feature);
}

static bool has_shmem(struct kvm_vcpu *vcpu)
{
	return vcpu->arch.nested.shmem.gpa != INVALID_GPA;
}

static __le64 *shmem_word(struct kvm_vcpu *vcpu, unsigned int offset)
{
	return vcpu->arch.nested.shmem.page[offset >> PAGE_SHIFT] +
	       offset_in_page(offset);
}

static u64 shmem_read(struct kvm_vcpu *vcpu, unsigned int offset)
{
	return le64_to_cpu(READ_ONCE(*shmem_word(vcpu, offset)));
}

static void shmem_write(struct kvm_vcpu *vcpu, unsigned int offset, u64 val)
{
	WRITE_ONCE(*shmem_word(vcpu, offset), cpu_to_le64(val));
}

/* Clear bits of a word that others may be writing to at the same time */
static void shmem_clear(struct kvm_vcpu *vcpu, unsigned int offset, u64 bits)
{
	atomic64_andnot((__force s64)cpu_to_le64(bits),
			(atomic64_t *)shmem_word(vcpu, offset));
}

static unsigned int csr_word(unsigned int index)
{
	return SBI_NACL_SHMEM_CSR_OFFSET + index * sizeof(u64);
}

static unsigned int dirty_word(unsigned int word)
{
	return SBI_NACL_SHMEM_DBITMAP_OFFSET + word * sizeof(u64);
}

/* Has L1 written a CSR that has not been synchronized yet? */
static bool csr_dirty(struct kvm_vcpu *vcpu, unsigned int index)
{
	return has_feature(vcpu, SBI_NACL_FEAT_SYNC_CSR) &&
	       shmem_read(vcpu, dirty_word(index / 64)) & BIT_ULL(index % 64);
}

/* Write CSRs that L1 marked in one word of the bitmap */
static void sync_csr_word(struct kvm_vcpu *vcpu, unsigned int word, u64 which)
{
	u64 dirty = shmem_read(vcpu, dirty_word(word)) & which, done = 0;
	unsigned int index;
	int row, bit;

	while (dirty) {
		bit = __fls(dirty);
		dirty &= ~BIT_ULL(bit);
		index = word * 64 + bit;
		row = kvm_riscv_nested_csr_row(vcpu, index);
		if (row < 0)
			continue;

		kvm_riscv_nested_csr_row_write(vcpu, row,
					       shmem_read(vcpu, csr_word(index)));
		done |= BIT_ULL(bit);
	}

	if (done)
		shmem_clear(vcpu, dirty_word(word), done);
}

/*
 * Write all CSRs that L1 marked. From the highest number to the lowest, a CSR
 * comes after those that it depends on: hip after hvip, vsie after hideleg and
 * hie, vsip after all of these.
 */
static void sync_csr_all(struct kvm_vcpu *vcpu)
{
	int word;

	for (word = NACL_CSR_WORDS - 1; word >= 0; word--)
		sync_csr_word(vcpu, word, ~0ULL);
}

/* Exchange hstatus with the autoswap context */
static void autoswap(struct kvm_vcpu *vcpu)
{
	const unsigned int hstatus = SBI_NACL_SHMEM_AUTOSWAP_OFFSET +
				     SBI_NACL_SHMEM_AUTOSWAP_HSTATUS;
	unsigned long old, new;

	if (!has_feature(vcpu, SBI_NACL_FEAT_AUTOSWAP_CSR) ||
	    !(shmem_read(vcpu, SBI_NACL_SHMEM_AUTOSWAP_OFFSET) &
	      SBI_NACL_SHMEM_AUTOSWAP_FLAG_HSTATUS))
		return;

	new = shmem_read(vcpu, hstatus);
	kvm_riscv_nested_csr_read(vcpu, CSR_HSTATUS, &old);
	shmem_write(vcpu, hstatus, old);
	kvm_riscv_nested_csr_write(vcpu, CSR_HSTATUS, new);
}

/* Bring words of CSR space up to date, except what L1 wrote and L0 has still to read */
static void flush_rows(struct kvm_vcpu *vcpu, u64 rows)
{
	unsigned int row, index;

	while (rows) {
		row = __ffs(rows);
		rows &= rows - 1;
		index = kvm_riscv_nested_csr_row_index(row);
		if (!csr_dirty(vcpu, index))
			shmem_write(vcpu, csr_word(index),
				    kvm_riscv_nested_csr_row_read(vcpu, row));
	}
}

/* Bring the shared memory up to date for L1, between shmem_begin() and _end() */
static void flush(struct kvm_vcpu *vcpu)
{
	struct kvm_nested_nacl *nacl = &vcpu->arch.nested.nacl;

	if (nacl->swap) {
		nacl->swap = false;
		autoswap(vcpu);
		kvm_riscv_nested_hstatus_changed(vcpu);
	}

	flush_rows(vcpu, nacl->stale & nacl->rows);
	nacl->stale = 0;
}

static bool flush_pending(struct kvm_vcpu *vcpu)
{
	struct kvm_nested_nacl *nacl = &vcpu->arch.nested.nacl;

	return !vcpu->arch.nested.virt && (nacl->stale || nacl->swap);
}

/*
 * Words that are out of date while L2 runs, of CSRs that it cannot change. Those
 * that it can change are on the hart, and are looked at when it is left.
 */
static u64 stale_in_l2(struct kvm_vcpu *vcpu)
{
	if (!vcpu->arch.nested.virt)
		return 0;

	return vcpu->arch.nested.nacl.stale & ~kvm_riscv_nested_csr_rows_of_l2;
}

/**
 * kvm_riscv_nested_nacl_flush - bring the shared memory up to date
 * @vcpu: loaded vCPU
 *
 * If L2 is what the vCPU runs next, that is about the CSRs that L1 wrote, so
 * that what L1 finds after L2 does not depend on where the vCPU was saved and
 * restored.
 *
 * Context: process context, srcu held, may sleep.
 * Return: 0 or an errno, -EFAULT if there is no memory.
 */
int kvm_riscv_nested_nacl_flush(struct kvm_vcpu *vcpu)
{
	struct kvm_nested_nacl *nacl = &vcpu->arch.nested.nacl;
	unsigned long flags;
	int ret;

	if (!flush_pending(vcpu) && !stale_in_l2(vcpu))
		return 0;

	ret = kvm_riscv_nested_shmem_begin(vcpu, &flags);
	if (ret)
		return ret;

	if (vcpu->arch.nested.virt) {
		flush_rows(vcpu, stale_in_l2(vcpu) & nacl->rows);
		nacl->stale &= kvm_riscv_nested_csr_rows_of_l2;
	} else {
		flush(vcpu);
	}
	kvm_riscv_nested_shmem_end(vcpu, flags);
	return 0;
}

/**
 * kvm_riscv_nested_nacl_ready - is the shared memory as L1 has to find it?
 * @vcpu: vCPU that is about to enter the guest
 *
 * Context: interrupts disabled, vcpu->mode is IN_GUEST_MODE.
 * Return: false if kvm_riscv_nested_nacl_flush() has to be called.
 */
bool kvm_riscv_nested_nacl_ready(struct kvm_vcpu *vcpu)
{
	if (!flush_pending(vcpu))
		return true;
	if (!READ_ONCE(vcpu->arch.nested.shmem.mapped))
		return false;

	flush(vcpu);
	return true;
}

/**
 * kvm_riscv_nested_nacl_drop - give up what cannot be brought to L1
 * @vcpu: vCPU whose shared memory is not there
 */
void kvm_riscv_nested_nacl_drop(struct kvm_vcpu *vcpu)
{
	vcpu->arch.nested.nacl.stale = 0;
	vcpu->arch.nested.nacl.swap = false;
	kvm_riscv_nested_hstatus_changed(vcpu);
}

/**
 * kvm_riscv_nested_nacl_left_l2 - note that V went from 1 to 0
 * @vcpu: the vCPU
 *
 * Context: any
 */
void kvm_riscv_nested_nacl_left_l2(struct kvm_vcpu *vcpu)
{
	if (!has_shmem(vcpu))
		return;

	vcpu->arch.nested.nacl.stale |= kvm_riscv_nested_csr_rows_of_l2;
	vcpu->arch.nested.nacl.swap = true;
}

/**
 * kvm_riscv_nested_nacl_took_trap - note that L0 raised a trap from V = 0 for L1
 * @vcpu: vCPU that runs L1
 *
 * Only about the CSRs that the trap writes: L1 may have stored a new value in the
 * word of any other, and not yet come to marking it.
 *
 * Context: any
 */
void kvm_riscv_nested_nacl_took_trap(struct kvm_vcpu *vcpu)
{
	static const u16 written[] = { CSR_HSTATUS, CSR_HTVAL, CSR_HTINST };
	int i, row;

	if (!has_shmem(vcpu))
		return;

	for (i = 0; i < ARRAY_SIZE(written); i++) {
		row = kvm_riscv_nested_csr_row(vcpu, SBI_NACL_SHMEM_CSR_INDEX(written[i]));
		if (row >= 0)
			vcpu->arch.nested.nacl.stale |= BIT_ULL(row);
	}
}

/* The hypervisor fence of one entry, as words that were read from it */
struct hfence {
	unsigned int type;
	unsigned long vmid;
	unsigned long asid;
	unsigned long start;
	unsigned long size;
	unsigned long order;
	bool all;
};

static void local_hfence_vvma(struct kvm *kvm, unsigned long vmid, void *data)
{
	struct hfence *f = data;

	switch (f->type) {
	case SBI_NACL_SHMEM_HFENCE_TYPE_VVMA:
		if (!f->all) {
			kvm_riscv_local_hfence_vvma_gva(vmid, f->start, f->size, f->order);
			break;
		}
		fallthrough;
	case SBI_NACL_SHMEM_HFENCE_TYPE_VVMA_ALL:
		kvm_riscv_local_hfence_vvma_all(vmid);
		break;
	case SBI_NACL_SHMEM_HFENCE_TYPE_VVMA_ASID:
		if (!f->all) {
			kvm_riscv_local_hfence_vvma_asid_gva(vmid, f->asid, f->start,
							     f->size, f->order);
			break;
		}
		fallthrough;
	case SBI_NACL_SHMEM_HFENCE_TYPE_VVMA_ASID_ALL:
		kvm_riscv_local_hfence_vvma_asid_all(vmid, f->asid);
		break;
	}
}

static unsigned long config_field(u64 config, unsigned int shift, unsigned long mask)
{
	return (config >> shift) & mask;
}

#define CONFIG_FIELD(__config, __name)						\
	config_field(__config, SBI_NACL_SHMEM_HFENCE_CONFIG_##__name##_SHIFT,	\
		     SBI_NACL_SHMEM_HFENCE_CONFIG_##__name##_MASK)

static void hfence_decode(struct hfence *f, u64 config, u64 pnum, u64 pcount)
{
	f->type = CONFIG_FIELD(config, TYPE);
	f->vmid = CONFIG_FIELD(config, VMID);
	f->asid = config & SBI_NACL_SHMEM_HFENCE_CONFIG_ASID_MASK;
	f->order = CONFIG_FIELD(config, ORDER) + SBI_NACL_SHMEM_HFENCE_ORDER_BASE;

	/*
	 * Types with an odd number have no range. What does not fit into an
	 * address ends with the last one.
	 */
	f->all = f->type & 1 || f->order >= BITS_PER_LONG || pcount > NACL_HFENCE_MAX_PAGES ||
		 pnum > (~0UL >> f->order) || pcount > (~0UL >> f->order) - pnum;
	f->start = f->all ? 0 : pnum << f->order;
	f->size = f->all ? -1UL : pcount << f->order;
}

static void hfence_run(struct kvm_vcpu *vcpu, struct hfence *f)
{
	struct kvm *kvm = vcpu->kvm;

	if (!f->size)
		return;

	switch (f->type) {
	case SBI_NACL_SHMEM_HFENCE_TYPE_GVMA:
		kvm_riscv_nested_hfence_gvma(kvm, -1UL, f->start, f->size);
		break;
	case SBI_NACL_SHMEM_HFENCE_TYPE_GVMA_ALL:
		kvm_riscv_nested_hfence_gvma(kvm, -1UL, 0, -1UL);
		break;
	case SBI_NACL_SHMEM_HFENCE_TYPE_GVMA_VMID:
		kvm_riscv_nested_hfence_gvma(kvm, f->vmid, f->start, f->size);
		break;
	case SBI_NACL_SHMEM_HFENCE_TYPE_GVMA_VMID_ALL:
		kvm_riscv_nested_hfence_gvma(kvm, f->vmid, 0, -1UL);
		break;
	case SBI_NACL_SHMEM_HFENCE_TYPE_VVMA:
	case SBI_NACL_SHMEM_HFENCE_TYPE_VVMA_ALL:
	case SBI_NACL_SHMEM_HFENCE_TYPE_VVMA_ASID:
	case SBI_NACL_SHMEM_HFENCE_TYPE_VVMA_ASID_ALL:
		kvm_riscv_tlb_flush_begin(vcpu);
		kvm_riscv_nested_hfence_vvma(kvm, f->vmid, local_hfence_vvma, f);
		kvm_riscv_tlb_flush_end();
		break;
	}
}

/* Carry an entry out if it is pending, and say so in the entry */
static int sync_hfence_entry(struct kvm_vcpu *vcpu, unsigned int i)
{
	u64 config, pnum, pcount;
	unsigned long flags;
	struct hfence f;
	u64 *word;
	int ret;

	ret = kvm_riscv_nested_shmem_begin(vcpu, &flags);
	if (ret)
		return ret;
	config = shmem_read(vcpu, SBI_NACL_SHMEM_HFENCE_ENTRY_CONFIG(i));
	/* L1 writes the pending bit last */
	smp_rmb();
	pnum = shmem_read(vcpu, SBI_NACL_SHMEM_HFENCE_ENTRY_PNUM(i));
	pcount = shmem_read(vcpu, SBI_NACL_SHMEM_HFENCE_ENTRY_PCOUNT(i));
	kvm_riscv_nested_shmem_end(vcpu, flags);

	if (!(config & SBI_NACL_SHMEM_HFENCE_CONFIG_PEND))
		return 0;

	hfence_decode(&f, config, pnum, pcount);
	hfence_run(vcpu, &f);

	ret = kvm_riscv_nested_shmem_begin(vcpu, &flags);
	if (ret)
		return ret;
	/* Should the entry have been replaced meanwhile, it stays pending */
	word = (__force u64 *)shmem_word(vcpu, SBI_NACL_SHMEM_HFENCE_ENTRY_CONFIG(i));
	cmpxchg(word, (__force u64)cpu_to_le64(config),
		(__force u64)cpu_to_le64(config & ~SBI_NACL_SHMEM_HFENCE_CONFIG_PEND));
	kvm_riscv_nested_shmem_end(vcpu, flags);

	return 0;
}

/* Entries that are pending, between shmem_begin() and _end() */
static u64 pending_hfences(struct kvm_vcpu *vcpu)
{
	u64 pending = 0;
	int i;

	for (i = 0; i < SBI_NACL_SHMEM_HFENCE_ENTRY_MAX; i++) {
		if (shmem_read(vcpu, SBI_NACL_SHMEM_HFENCE_ENTRY_CONFIG(i)) &
		    SBI_NACL_SHMEM_HFENCE_CONFIG_PEND)
			pending |= BIT_ULL(i);
	}

	return pending;
}

static int sync_hfence_all(struct kvm_vcpu *vcpu)
{
	unsigned long flags;
	u64 pending;
	int ret;

	ret = kvm_riscv_nested_shmem_begin(vcpu, &flags);
	if (ret)
		return ret;
	pending = pending_hfences(vcpu);
	kvm_riscv_nested_shmem_end(vcpu, flags);

	while (!ret && pending) {
		ret = sync_hfence_entry(vcpu, __ffs(pending));
		pending &= pending - 1;
		cond_resched();
	}

	return ret;
}

/* Memory that is gone is no error of L0 */
static int shmem_result(int ret, struct kvm_vcpu_sbi_return *retdata)
{
	if (ret != -EFAULT)
		return ret;

	retdata->err_val = SBI_ERR_NO_SHMEM;
	return 0;
}

static int nacl_probe_feature(struct kvm_vcpu *vcpu, struct kvm_vcpu_sbi_return *retdata)
{
	u32 feature = vcpu->arch.guest_context.a0;

	retdata->out_val = feature < BITS_PER_LONG && has_feature(vcpu, feature);
	return 0;
}

static int nacl_set_shmem(struct kvm_vcpu *vcpu, struct kvm_vcpu_sbi_return *retdata)
{
	struct kvm_cpu_context *cp = &vcpu->arch.guest_context;
	unsigned long lo = cp->a0, hi = cp->a1, flags;
	struct kvm_vcpu_nested *n = &vcpu->arch.nested;
	gpa_t old = n->shmem.gpa;
	int ret;

	if (cp->a2) {
		retdata->err_val = SBI_ERR_INVALID_PARAM;
		return 0;
	}

	if (lo == SBI_SHMEM_DISABLE && hi == SBI_SHMEM_DISABLE) {
		kvm_riscv_nested_nacl_reset(vcpu);
		return 0;
	}

	if (!PAGE_ALIGNED(lo)) {
		retdata->err_val = SBI_ERR_INVALID_PARAM;
		return 0;
	}

	if (hi || lo > -(unsigned long)SBI_NACL_SHMEM_SIZE) {
		retdata->err_val = SBI_ERR_INVALID_ADDRESS;
		return 0;
	}

	kvm_riscv_nested_shmem_set(vcpu, lo);
	ret = kvm_riscv_nested_shmem_begin(vcpu, &flags);
	if (ret) {
		kvm_riscv_nested_shmem_set(vcpu, old);
		if (ret != -EFAULT)
			return ret;
		retdata->err_val = SBI_ERR_INVALID_ADDRESS;
		return 0;
	}
	kvm_riscv_nested_shmem_end(vcpu, flags);

	n->nacl.stale = n->nacl.rows;
	return 0;
}

static int nacl_sync_csr(struct kvm_vcpu *vcpu, struct kvm_vcpu_sbi_return *retdata)
{
	unsigned long num = vcpu->arch.guest_context.a0, flags;
	struct kvm_nested_nacl *nacl = &vcpu->arch.nested.nacl;
	unsigned int index = SBI_NACL_SHMEM_CSR_INDEX(num);
	int ret, row = 0;

	if (!has_feature(vcpu, SBI_NACL_FEAT_SYNC_CSR)) {
		retdata->err_val = SBI_ERR_NOT_SUPPORTED;
		return 0;
	}

	if (num != NACL_CSR_ALL) {
		row = -ENOENT;
		if (num < 0x1000 && (num & 0x300) == 0x200)
			row = kvm_riscv_nested_csr_row(vcpu, index);
		if (row < 0) {
			retdata->err_val = SBI_ERR_INVALID_PARAM;
			return 0;
		}
	}

	if (!has_shmem(vcpu)) {
		retdata->err_val = SBI_ERR_NO_SHMEM;
		return 0;
	}

	ret = kvm_riscv_nested_shmem_begin(vcpu, &flags);
	if (ret)
		return shmem_result(ret, retdata);

	if (num == NACL_CSR_ALL) {
		sync_csr_all(vcpu);
		nacl->stale |= nacl->rows;
	} else {
		sync_csr_word(vcpu, index / 64, BIT_ULL(index % 64));
		nacl->stale |= BIT_ULL(row);
	}
	flush(vcpu);
	kvm_riscv_nested_hstatus_changed(vcpu);
	kvm_riscv_nested_shmem_end(vcpu, flags);

	return 0;
}

static int nacl_sync_hfence(struct kvm_vcpu *vcpu, struct kvm_vcpu_sbi_return *retdata)
{
	unsigned long entry = vcpu->arch.guest_context.a0;
	int ret;

	if (!has_feature(vcpu, SBI_NACL_FEAT_SYNC_HFENCE)) {
		retdata->err_val = SBI_ERR_NOT_SUPPORTED;
		return 0;
	}

	if (entry != NACL_HFENCE_ALL && entry >= SBI_NACL_SHMEM_HFENCE_ENTRY_MAX) {
		retdata->err_val = SBI_ERR_INVALID_PARAM;
		return 0;
	}

	if (!has_shmem(vcpu)) {
		retdata->err_val = SBI_ERR_NO_SHMEM;
		return 0;
	}

	ret = entry == NACL_HFENCE_ALL ? sync_hfence_all(vcpu) :
					 sync_hfence_entry(vcpu, entry);
	return shmem_result(ret, retdata);
}

static void load_gprs(struct kvm_vcpu *vcpu)
{
	unsigned long *x = &vcpu->arch.guest_context.zero;
	int i;

	for (i = 1; i < 32; i++)
		x[i] = shmem_read(vcpu, SBI_NACL_SHMEM_SRET_OFFSET + i * sizeof(u64));
}

static int nacl_sync_sret(struct kvm_vcpu *vcpu, struct kvm_vcpu_sbi_return *retdata)
{
	unsigned long flags;
	int ret;

	if (!has_feature(vcpu, SBI_NACL_FEAT_SYNC_SRET)) {
		retdata->err_val = SBI_ERR_NOT_SUPPORTED;
		return 0;
	}

	if (!has_shmem(vcpu)) {
		retdata->err_val = SBI_ERR_NO_SHMEM;
		return 0;
	}

	if (has_feature(vcpu, SBI_NACL_FEAT_SYNC_CSR)) {
		ret = kvm_riscv_nested_shmem_begin(vcpu, &flags);
		if (ret)
			return shmem_result(ret, retdata);
		sync_csr_all(vcpu);
		/* Should the rest fail, L1 goes on with what it wrote */
		kvm_riscv_nested_hstatus_changed(vcpu);
		kvm_riscv_nested_shmem_end(vcpu, flags);
	}

	if (has_feature(vcpu, SBI_NACL_FEAT_SYNC_HFENCE)) {
		ret = sync_hfence_all(vcpu);
		if (ret)
			return shmem_result(ret, retdata);
	}

	/* Nothing can fail once the autoswap context was swapped */
	ret = kvm_riscv_nested_gstage_get(vcpu);
	if (ret)
		return ret;

	ret = kvm_riscv_nested_shmem_begin(vcpu, &flags);
	if (ret)
		return shmem_result(ret, retdata);
	load_gprs(vcpu);
	autoswap(vcpu);
	kvm_riscv_nested_hstatus_changed(vcpu);
	kvm_riscv_nested_sret_commit(vcpu);
	kvm_riscv_nested_shmem_end(vcpu, flags);

	retdata->noreturn = true;
	return 0;
}

static int (*const nacl_functions[])(struct kvm_vcpu *vcpu,
				     struct kvm_vcpu_sbi_return *retdata) = {
	[SBI_EXT_NACL_PROBE_FEATURE]	= nacl_probe_feature,
	[SBI_EXT_NACL_SET_SHMEM]	= nacl_set_shmem,
	[SBI_EXT_NACL_SYNC_CSR]		= nacl_sync_csr,
	[SBI_EXT_NACL_SYNC_HFENCE]	= nacl_sync_hfence,
	[SBI_EXT_NACL_SYNC_SRET]	= nacl_sync_sret,
};

static int kvm_sbi_ext_nacl_handler(struct kvm_vcpu *vcpu, struct kvm_run *run,
				    struct kvm_vcpu_sbi_return *retdata)
{
	unsigned long fid = vcpu->arch.guest_context.a6;
	int ret;

	if (!kvm_riscv_nested_vcpu(vcpu) || fid >= ARRAY_SIZE(nacl_functions)) {
		retdata->err_val = SBI_ERR_NOT_SUPPORTED;
		return 0;
	}

	ret = nacl_functions[array_index_nospec(fid, ARRAY_SIZE(nacl_functions))]
			(vcpu, retdata);
	if (ret == -EINTR)
		kvm_handle_signal_exit(vcpu);

	return ret;
}

static unsigned long kvm_sbi_ext_nacl_probe(struct kvm_vcpu *vcpu)
{
	return kvm_riscv_nested_vcpu(vcpu);
}

static int kvm_sbi_ext_nacl_init(struct kvm_vcpu *vcpu)
{
	vcpu->arch.nested.nacl.features = NACL_FEATURES;
	return 0;
}

/* The extensions of the vCPU, and with them its CSRs, are settled */
static void kvm_sbi_ext_nacl_validate(struct kvm_vcpu *vcpu)
{
	vcpu->arch.nested.nacl.rows = kvm_riscv_nested_csr_rows(vcpu);
}

/**
 * kvm_riscv_nested_nacl_reset - forget the shared memory
 * @vcpu: the vCPU
 *
 * Context: any
 */
void kvm_riscv_nested_nacl_reset(struct kvm_vcpu *vcpu)
{
	kvm_riscv_nested_shmem_set(vcpu, INVALID_GPA);
	vcpu->arch.nested.nacl.stale = 0;
	vcpu->arch.nested.nacl.swap = false;
}

static unsigned long kvm_sbi_ext_nacl_get_state_reg_count(struct kvm_vcpu *vcpu)
{
	return kvm_riscv_nested_vcpu(vcpu) ?
	       sizeof(struct kvm_riscv_sbi_nacl) / sizeof(unsigned long) : 0;
}

static int kvm_sbi_ext_nacl_get_reg(struct kvm_vcpu *vcpu, unsigned long reg_num,
				    unsigned long reg_size, void *reg_val)
{
	struct kvm_vcpu_nested *n = &vcpu->arch.nested;
	unsigned long *val = reg_val;

	if (reg_size != sizeof(unsigned long))
		return -EINVAL;
	if (!kvm_riscv_nested_vcpu(vcpu))
		return -ENOENT;

	switch (reg_num) {
	case KVM_REG_RISCV_SBI_NACL_REG(features):
		*val = n->nacl.features;
		return 0;
	case KVM_REG_RISCV_SBI_NACL_REG(shmem_lo):
		*val = n->shmem.gpa;
		return 0;
	case KVM_REG_RISCV_SBI_NACL_REG(shmem_hi):
		*val = 0;
		return 0;
	}

	return -ENOENT;
}

static int set_features(struct kvm_vcpu *vcpu, unsigned long val)
{
	if (val == vcpu->arch.nested.nacl.features)
		return 0;
	if (vcpu->arch.ran_atleast_once)
		return -EBUSY;
	if (val & ~NACL_FEATURES)
		return -EINVAL;

	vcpu->arch.nested.nacl.features = val;
	return 0;
}

static int kvm_sbi_ext_nacl_set_reg(struct kvm_vcpu *vcpu, unsigned long reg_num,
				    unsigned long reg_size, const void *reg_val)
{
	unsigned long val;

	if (reg_size != sizeof(unsigned long))
		return -EINVAL;
	if (!kvm_riscv_nested_vcpu(vcpu))
		return -ENOENT;
	val = *(const unsigned long *)reg_val;

	switch (reg_num) {
	case KVM_REG_RISCV_SBI_NACL_REG(features):
		return set_features(vcpu, val);
	case KVM_REG_RISCV_SBI_NACL_REG(shmem_lo):
		if (val != INVALID_GPA &&
		    (!PAGE_ALIGNED(val) || val > -(unsigned long)SBI_NACL_SHMEM_SIZE))
			return -EINVAL;
		kvm_riscv_nested_nacl_reset(vcpu);
		kvm_riscv_nested_shmem_set(vcpu, val);
		return 0;
	case KVM_REG_RISCV_SBI_NACL_REG(shmem_hi):
		return val ? -EINVAL : 0;
	}

	return -ENOENT;
}

const struct kvm_vcpu_sbi_extension vcpu_sbi_ext_nacl = {
	.extid_start = SBI_EXT_NACL,
	.extid_end = SBI_EXT_NACL,
	.handler = kvm_sbi_ext_nacl_handler,
	.probe = kvm_sbi_ext_nacl_probe,
	.init = kvm_sbi_ext_nacl_init,
	.reset = kvm_riscv_nested_nacl_reset,
	.validate = kvm_sbi_ext_nacl_validate,
	.state_reg_subtype = KVM_REG_RISCV_SBI_NACL,
	.get_state_reg_count = kvm_sbi_ext_nacl_get_state_reg_count,
	.get_state_reg = kvm_sbi_ext_nacl_get_reg,
	.set_state_reg = kvm_sbi_ext_nacl_set_reg,
};
