// SPDX-License-Identifier: GPL-2.0-only
/*
 * SBI nested acceleration (NACL): KVM as the guest of another hypervisor.
 *
 * References are to chapter 15 of the SBI specification, version 3.0.
 */

#include <linux/bits.h>
#include <linux/cpu.h>
#include <linux/errno.h>
#include <linux/gfp.h>
#include <linux/kvm_host.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <asm/kvm_nacl.h>

/* Words of the host are little-endian, as the shared memory's have to be. */
#define NACL_WORDS(bytes)	((bytes) / sizeof(unsigned long))
#define NACL_NR_CSRS		1024
#define NACL_NR_HFENCES		(3840 / BITS_PER_LONG)

struct nacl_hfence {
	unsigned long config;
	unsigned long page_number;
	unsigned long reserved;
	unsigned long page_count;
};

#define NACL_HFENCE_PENDING	BIT(BITS_PER_LONG - 1)
#define NACL_HFENCE_TYPE_SHIFT	(BITS_PER_LONG - 8)
#define NACL_HFENCE_ORDER_SHIFT	(BITS_PER_LONG - 16)
/* Orders count from this one */
#define NACL_HFENCE_MIN_ORDER	12
#ifdef CONFIG_64BIT
#define NACL_HFENCE_VMID	GENMASK(29, 16)
#define NACL_HFENCE_VMID_SHIFT	16
#define NACL_HFENCE_ASID	GENMASK(15, 0)
#else
#define NACL_HFENCE_VMID	GENMASK(15, 9)
#define NACL_HFENCE_VMID_SHIFT	9
#define NACL_HFENCE_ASID	GENMASK(8, 0)
#endif

#define NACL_AUTOSWAP_HSTATUS	BIT(0)

struct nacl_shmem {
	/* What x1 to x31 get from SYNC_SRET; x0 is reserved */
	unsigned long sret_gprs[NACL_WORDS(0x200)];
	unsigned long autoswap_flags;
	unsigned long autoswap_hstatus;
	unsigned long reserved[NACL_WORDS(0x600) - 2];
	struct nacl_hfence hfence[NACL_NR_HFENCES];
	unsigned long csr_dirty[NACL_WORDS(NACL_NR_CSRS / 8)];
	unsigned long csr[NACL_NR_CSRS];
};

static_assert(offsetof(struct nacl_shmem, autoswap_flags) == 0x200);
static_assert(offsetof(struct nacl_shmem, hfence) == 0x800);
static_assert(offsetof(struct nacl_shmem, csr_dirty) == 0xf80);
static_assert(offsetof(struct nacl_shmem, csr) == 0x1000);
static_assert(sizeof(struct nacl_shmem) == 4096 + BITS_PER_LONG * 128);

/* The assembly copies x1 to x31 in one go. */
static_assert(offsetof(struct kvm_cpu_context, ra) == sizeof(unsigned long));
static_assert(offsetof(struct kvm_cpu_context, t6) == 31 * sizeof(unsigned long));

struct nacl_cpu {
	/* The same from kvm_riscv_nacl_init() to kvm_riscv_nacl_exit() */
	struct nacl_shmem *shmem;
	/* The hypervisor below knows of it */
	bool enabled;
	/* Entry that the last fence went to; they are used in turn */
	unsigned int last_hfence;
	/* hstatus outside of the guest: KVM has no use for it there */
	unsigned long host_hstatus;
};

static DEFINE_PER_CPU(struct nacl_cpu, nacl_cpu);
DEFINE_PER_CPU(unsigned long *, kvm_riscv_nacl_csrs);

DEFINE_STATIC_KEY_ARRAY_FALSE(kvm_riscv_nacl_keys, SBI_NACL_FEAT_MAX);
DEFINE_STATIC_KEY_FALSE(kvm_riscv_nacl_key);

static const char * const nacl_feature_names[SBI_NACL_FEAT_MAX] = {
	[SBI_NACL_FEAT_SYNC_CSR]	= "sync_csr",
	[SBI_NACL_FEAT_SYNC_HFENCE]	= "sync_hfence",
	[SBI_NACL_FEAT_SYNC_SRET]	= "sync_sret",
	[SBI_NACL_FEAT_AUTOSWAP_CSR]	= "autoswap_csr",
};

static unsigned int nacl_features = BIT(SBI_NACL_FEAT_MAX) - 1;
module_param(nacl_features, uint, 0444);
MODULE_PARM_DESC(nacl_features,
		 "SBI NACL features to use where offered: bit 0 sync_csr, 1 sync_hfence, 2 sync_sret, 3 autoswap_csr");

/* The SBI call by itself: sbi_ecall() may be traced, the guest's entry not. */
static __always_inline long nacl_ecall(unsigned long fid, unsigned long arg)
{
	register unsigned long a0 asm ("a0") = arg;
	register unsigned long a1 asm ("a1");
	register unsigned long a6 asm ("a6") = fid;
	register unsigned long a7 asm ("a7") = SBI_EXT_NACL;

	asm volatile ("ecall"
		      : "+r" (a0), "=r" (a1)
		      : "r" (a6), "r" (a7)
		      : "memory");
	return a0;
}

static bool nacl_csr_waits(const struct nacl_shmem *shmem)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(shmem->csr_dirty); i++) {
		if (READ_ONCE(shmem->csr_dirty[i]))
			return true;
	}
	return false;
}

static __always_inline bool nacl_hfence_waits(const struct nacl_shmem *shmem,
					      unsigned int i)
{
	return READ_ONCE(shmem->hfence[i].config) & NACL_HFENCE_PENDING;
}

/* All writes and all fences of this hart that still wait. */
static __always_inline long nacl_sync_all(const struct nacl_cpu *nacl)
{
	long err = 0;

	/* A hart that came online without: no guest can be entered on it. */
	if (unlikely(!nacl->enabled))
		return SBI_ERR_NO_SHMEM;

	if (kvm_riscv_nacl_has(SYNC_CSR))
		err = nacl_ecall(SBI_EXT_NACL_SYNC_CSR, -1UL);
	/* Entries are used in turn: if the last one does not wait, none does. */
	if (!err && kvm_riscv_nacl_has(SYNC_HFENCE) &&
	    nacl_hfence_waits(nacl->shmem, nacl->last_hfence))
		err = nacl_ecall(SBI_EXT_NACL_SYNC_HFENCE, -1UL);
	return err;
}

static void nacl_report(const char *what, long err)
{
	if (unlikely(err))
		pr_err_ratelimited("kvm: NACL: %s: SBI error %ld\n", what, err);
}

/**
 * kvm_riscv_nacl_sync_csr() - Have what was written to a CSR take effect
 * @csr: CSR number, or -1UL for all; feature SYNC_CSR is in use
 *
 * Context: Any, on the hart that wrote it.
 */
void kvm_riscv_nacl_sync_csr(unsigned long csr)
{
	nacl_report("CSR", nacl_ecall(SBI_EXT_NACL_SYNC_CSR, csr));
}

/**
 * kvm_riscv_nacl_sync() - Have all that was written and fenced take effect
 *
 * For what depends on it without an entry to the guest: HLV, HLVX and HSV.
 *
 * Context: Interrupts are off.
 */
void kvm_riscv_nacl_sync(void)
{
	struct nacl_cpu *nacl = this_cpu_ptr(&nacl_cpu);

	if (kvm_riscv_nacl_has(SYNC_CSR) && nacl_csr_waits(nacl->shmem))
		kvm_riscv_nacl_sync_csr(-1UL);
	if (kvm_riscv_nacl_has(SYNC_HFENCE) &&
	    nacl_hfence_waits(nacl->shmem, nacl->last_hfence))
		nacl_report("HFENCE",
			    nacl_ecall(SBI_EXT_NACL_SYNC_HFENCE, -1UL));
}

/* Value first, then the bit that makes it count ("Synchronize CSR"). */
static __always_inline void nacl_csr_set(struct nacl_shmem *shmem,
					 unsigned int index, unsigned long val)
{
	unsigned long *dirty = &shmem->csr_dirty[index / BITS_PER_LONG];

	WRITE_ONCE(shmem->csr[index], val);
	WRITE_ONCE(*dirty, READ_ONCE(*dirty) | BIT(index % BITS_PER_LONG));
}

/**
 * kvm_riscv_nacl_csr_write() - Write a CSR to the shared memory
 * @index: Its index there, from hcsr_index(); feature SYNC_CSR is in use
 * @val: The new value
 *
 * The shared memory follows the CSR, so a value that is there already needs
 * no write and costs the hypervisor below nothing.
 *
 * Context: Any. For hcsr_write().
 */
void kvm_riscv_nacl_csr_write(unsigned int index, unsigned long val)
{
	struct nacl_shmem *shmem;
	unsigned long flags;

	/* An interrupt may synchronize, or write its neighbour's bit. */
	local_irq_save(flags);
	shmem = this_cpu_ptr(&nacl_cpu)->shmem;
	if (READ_ONCE(shmem->csr[index]) != val)
		nacl_csr_set(shmem, index, val);
	local_irq_restore(flags);
}

static bool nacl_hfence_queue(unsigned long config, unsigned long page_number,
			      unsigned long page_count)
{
	struct nacl_hfence *entry;
	struct nacl_cpu *nacl;
	unsigned long flags;
	unsigned int next;
	bool queued = false;

	local_irq_save(flags);

	/* A hart that is not yet, or no more, KVM's: not enabled */
	nacl = this_cpu_ptr(&nacl_cpu);
	if (!nacl->enabled)
		goto out;

	/* Entries are synchronized all at once: is this one full, all are. */
	next = (nacl->last_hfence + 1) % NACL_NR_HFENCES;
	if (nacl_hfence_waits(nacl->shmem, next) &&
	    nacl_ecall(SBI_EXT_NACL_SYNC_HFENCE, -1UL))
		goto out;

	/* What to fence first, then the bit that makes it count. */
	entry = &nacl->shmem->hfence[next];
	WRITE_ONCE(entry->page_number, page_number);
	WRITE_ONCE(entry->page_count, page_count);
	WRITE_ONCE(entry->config, NACL_HFENCE_PENDING | config);
	nacl->last_hfence = next;
	queued = true;
out:
	local_irq_restore(flags);
	return queued;
}

static unsigned long nacl_hfence_config(enum sbi_nacl_hfence_type type,
					unsigned long vmid, unsigned long asid)
{
	return ((unsigned long)type << NACL_HFENCE_TYPE_SHIFT) |
	       ((vmid << NACL_HFENCE_VMID_SHIFT) & NACL_HFENCE_VMID) |
	       (asid & NACL_HFENCE_ASID);
}

/**
 * kvm_riscv_nacl_hfence_all() - Fence all addresses
 * @type: One of the types that end in _ALL; feature SYNC_HFENCE is in use
 * @vmid: VMID, zero for the types that have none
 * @asid: ASID, zero for the types that have none
 *
 * Context: Any. The fence is done before this hart enters a guest again.
 * Return: false if the caller has to execute the instruction itself.
 */
bool kvm_riscv_nacl_hfence_all(enum sbi_nacl_hfence_type type,
			       unsigned long vmid, unsigned long asid)
{
	return nacl_hfence_queue(nacl_hfence_config(type, vmid, asid), 0, 0);
}

/**
 * kvm_riscv_nacl_hfence() - Fence a range of addresses
 * @type: One of the types that have a range; feature SYNC_HFENCE is in use
 * @vmid: VMID, zero for the types that have none
 * @asid: ASID, zero for the types that have none
 * @addr: First address, of any alignment
 * @size: Bytes from there on, at least 1
 * @order: log2 of the page size in bytes, 12 to 139
 *
 * Context: Any. The fence is done before this hart enters a guest again.
 * Return: false if the caller has to execute the instructions itself.
 */
bool kvm_riscv_nacl_hfence(enum sbi_nacl_hfence_type type,
			   unsigned long vmid, unsigned long asid,
			   u64 addr, u64 size, unsigned int order)
{
	unsigned long config = nacl_hfence_config(type, vmid, asid);
	u64 first, last;

	if (!size || addr + size - 1 < addr || order < NACL_HFENCE_MIN_ORDER)
		return false;

	config |= (unsigned long)(order - NACL_HFENCE_MIN_ORDER) <<
		  NACL_HFENCE_ORDER_SHIFT;
	first = addr >> order;
	last = (addr + size - 1) >> order;
	return nacl_hfence_queue(config, first, last - first + 1);
}

/*
 * The exit code to report when the hypervisor below refuses to enter the
 * guest: one for custom use, of which KVM's exit handler knows nothing.
 */
#define EXC_NACL_REFUSED	63

/**
 * kvm_riscv_nacl_enter_exit() - Run the guest until it exits
 * @vcpu: vCPU, loaded
 * @trap: Filled in: why it exited
 *
 * Does what the run loop does by itself on bare metal, with whichever features
 * there are. SYNC_SRET enters the guest and synchronizes all else; without it,
 * that comes first. hstatus gets the guest's value from the autoswap, or as
 * one of the CSRs, or, if there is neither, the way it does on bare metal.
 *
 * Context: Interrupts are off, RCU does not watch; any feature is in use.
 */
void noinstr kvm_riscv_nacl_enter_exit(struct kvm_vcpu *vcpu,
				       struct kvm_cpu_trap *trap)
{
	struct kvm_cpu_context *gcntx = &vcpu->arch.guest_context;
	struct nacl_cpu *nacl = raw_cpu_ptr(&nacl_cpu);
	struct nacl_shmem *shmem = nacl->shmem;
	unsigned long hstatus = gcntx->hstatus;
	unsigned long host_hstatus = nacl->host_hstatus;
	long err;

	if (kvm_riscv_nacl_has(AUTOSWAP_CSR))
		WRITE_ONCE(shmem->autoswap_hstatus, hstatus);
	else if (kvm_riscv_nacl_has(SYNC_CSR))
		nacl_csr_set(shmem, hcsr_index(CSR_HSTATUS), hstatus);
	else
		host_hstatus = csr_swap(CSR_HSTATUS, hstatus);

	if (kvm_riscv_nacl_has(SYNC_SRET)) {
		err = __kvm_riscv_nacl_switch_to(&vcpu->arch, shmem->sret_gprs,
						 SBI_EXT_NACL_SYNC_SRET,
						 SBI_EXT_NACL);
	} else {
		err = nacl_sync_all(nacl);
		if (likely(!err))
			__kvm_riscv_switch_to(&vcpu->arch);
	}

	if (kvm_riscv_nacl_has(AUTOSWAP_CSR))
		hstatus = READ_ONCE(shmem->autoswap_hstatus);
	else
		hstatus = csr_swap(CSR_HSTATUS, host_hstatus);

	trap->sepc = gcntx->sepc;
	if (unlikely(err)) {
		trap->scause = EXC_NACL_REFUSED;
		trap->stval = err;
		trap->htval = 0;
		trap->htinst = 0;
		return;
	}

	gcntx->hstatus = hstatus;
	trap->scause = csr_read(CSR_SCAUSE);
	trap->stval = csr_read(CSR_STVAL);
	if (kvm_riscv_nacl_has(SYNC_CSR)) {
		trap->htval = READ_ONCE(shmem->csr[hcsr_index(CSR_HTVAL)]);
		trap->htinst = READ_ONCE(shmem->csr[hcsr_index(CSR_HTINST)]);
	} else {
		trap->htval = csr_read(CSR_HTVAL);
		trap->htinst = csr_read(CSR_HTINST);
	}
}

static int nacl_set_shmem(unsigned long lo, unsigned long hi)
{
	struct sbiret ret;

	ret = sbi_ecall(SBI_EXT_NACL, SBI_EXT_NACL_SET_SHMEM, lo, hi, 0, 0, 0, 0);
	return ret.error ? -EIO : 0;
}

static int nacl_share(const struct nacl_shmem *shmem)
{
	phys_addr_t phys = __pa(shmem);

	/* On RV32 the upper half counts, on RV64 there is none. */
	return nacl_set_shmem(phys, IS_ENABLED(CONFIG_32BIT) ?
				    upper_32_bits(phys) : 0);
}

static int nacl_unshare(void)
{
	return nacl_set_shmem(SBI_SHMEM_DISABLE, SBI_SHMEM_DISABLE);
}

/**
 * kvm_riscv_nacl_enable() - Share this hart's memory with the hypervisor below
 *
 * Context: On the hart, which KVM is about to take into use; it stays here.
 * Return: 0, also where there is no NACL, or -EIO: the hypervisor refuses.
 */
int kvm_riscv_nacl_enable(void)
{
	struct nacl_cpu *nacl;
	int rc;

	if (!kvm_riscv_nacl_in_use())
		return 0;

	nacl = this_cpu_ptr(&nacl_cpu);
	memset(nacl->shmem, 0, sizeof(*nacl->shmem));
	nacl->last_hfence = 0;
	rc = nacl_share(nacl->shmem);
	if (rc)
		return rc;

	/* What the last trap from a guest left is of no use to the host. */
	nacl->host_hstatus = csr_read(CSR_HSTATUS) &
			     ~(HSTATUS_SPV | HSTATUS_SPVP | HSTATUS_GVA);
	if (kvm_riscv_nacl_has(AUTOSWAP_CSR))
		nacl->shmem->autoswap_flags = NACL_AUTOSWAP_HSTATUS;

	/* Reads, too, are served from here on, so the values have to be there. */
	if (kvm_riscv_nacl_has(SYNC_CSR) &&
	    nacl_ecall(SBI_EXT_NACL_SYNC_CSR, -1UL)) {
		nacl->enabled = nacl_unshare();
		return -EIO;
	}
	nacl->enabled = true;
	return 0;
}

/**
 * kvm_riscv_nacl_disable() - Take this hart's memory back
 *
 * Context: On the hart, which KVM does not use any more; it stays here.
 */
void kvm_riscv_nacl_disable(void)
{
	struct nacl_cpu *nacl;

	if (!kvm_riscv_nacl_in_use())
		return;

	nacl = this_cpu_ptr(&nacl_cpu);
	if (!nacl->enabled)
		return;

	nacl_report("disable", nacl_sync_all(nacl));
	if (nacl_unshare())
		kvm_err("NACL: CPU%d cannot take its memory back\n",
			smp_processor_id());
	else
		nacl->enabled = false;
}

static void nacl_try(void *refused)
{
	struct nacl_cpu *nacl = this_cpu_ptr(&nacl_cpu);

	if (!nacl_share(nacl->shmem)) {
		if (!nacl_unshare())
			return;
		nacl->enabled = true;
	}
	WRITE_ONCE(*(bool *)refused, true);
}

static void nacl_free(void)
{
	struct nacl_cpu *nacl;
	int cpu;

	for_each_possible_cpu(cpu) {
		nacl = per_cpu_ptr(&nacl_cpu, cpu);
		/* Memory that others may still write to is not given back. */
		if (nacl->shmem && !nacl->enabled)
			free_pages_exact(nacl->shmem, sizeof(*nacl->shmem));
		nacl->shmem = NULL;
	}
}

static int nacl_alloc(void)
{
	struct nacl_cpu *nacl;
	int cpu;

	for_each_possible_cpu(cpu) {
		nacl = per_cpu_ptr(&nacl_cpu, cpu);
		nacl->shmem = alloc_pages_exact(sizeof(*nacl->shmem),
						GFP_KERNEL | __GFP_ZERO);
		if (!nacl->shmem) {
			nacl_free();
			return -ENOMEM;
		}
		per_cpu(kvm_riscv_nacl_csrs, cpu) = nacl->shmem->csr;
	}
	return 0;
}

static unsigned long nacl_probe(void)
{
	unsigned long features = 0;
	struct sbiret ret;
	unsigned int i;

	if (sbi_probe_extension(SBI_EXT_NACL) <= 0)
		return 0;

	for (i = 0; i < SBI_NACL_FEAT_MAX; i++) {
		ret = sbi_ecall(SBI_EXT_NACL, SBI_EXT_NACL_PROBE_FEATURE,
				i, 0, 0, 0, 0, 0);
		if (!ret.error && ret.value && (nacl_features & BIT(i)))
			features |= BIT(i);
	}

	/* The swap into the guest is part of SYNC_SRET. */
	if (!(features & BIT(SBI_NACL_FEAT_SYNC_SRET)))
		features &= ~BIT(SBI_NACL_FEAT_AUTOSWAP_CSR);
	return features;
}

/**
 * kvm_riscv_nacl_init() - Find out what the hypervisor below offers
 *
 * From here on the helpers make use of it, on harts that
 * kvm_riscv_nacl_enable() was called on. Where there is nothing to use, or a
 * hart's memory is refused, everything stays as on bare metal.
 *
 * Context: Process; may sleep. No hart is KVM's yet.
 * Return: 0 or -ENOMEM.
 */
int kvm_riscv_nacl_init(void)
{
	unsigned long features = nacl_probe();
	bool refused = false;
	unsigned int i;
	int rc;

	if (!features)
		return 0;

	rc = nacl_alloc();
	if (rc)
		return rc;

	on_each_cpu(nacl_try, &refused, 1);
	if (refused) {
		kvm_info("NACL: shared memory refused, not used\n");
		nacl_free();
		return 0;
	}

	for (i = 0; i < SBI_NACL_FEAT_MAX; i++) {
		if (!(features & BIT(i)))
			continue;
		static_branch_enable(&kvm_riscv_nacl_keys[i]);
		kvm_info("NACL: using %s\n", nacl_feature_names[i]);
	}
	static_branch_enable(&kvm_riscv_nacl_key);
	return 0;
}

/**
 * kvm_riscv_nacl_exit() - Undo kvm_riscv_nacl_init()
 *
 * Context: Process; may sleep. No hart is KVM's any more.
 */
void kvm_riscv_nacl_exit(void)
{
	unsigned int i;

	if (!kvm_riscv_nacl_in_use())
		return;

	static_branch_disable(&kvm_riscv_nacl_key);
	for (i = 0; i < SBI_NACL_FEAT_MAX; i++)
		static_branch_disable(&kvm_riscv_nacl_keys[i]);
	nacl_free();
}
