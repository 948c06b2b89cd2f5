// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: an L1 that does what no hypervisor should.
 *
 * Random values go to the CSRs, random entries to the page tables, random
 * operands to fences and hypervisor loads, and L2 starts at random addresses.
 * The host has to survive, another VM must not notice, and all memory has to come
 * back; what L1 sees does not matter. Run it on a kernel with KASAN and lockdep, for
 * ten minutes or so (-t 600).
 */
#include <sys/mman.h>

#include "kvm_util.h"
#include "processor.h"
#include "nested.h"
#include "nested_fuzz.h"
#include "ucall_common.h"

static struct nested_ctx ctx;
static u64 seed;

/* Random, but often something that nearly makes sense */
static u64 rnd_value(void)
{
	switch (rnd(&seed) % 6) {
	case 0:
		return 0;
	case 1:
		return ~0UL;
	case 2:
		return BIT(rnd(&seed) % 64);
	case 3:
		return NESTED_L2_ADDR + rnd(&seed) % (2 * NESTED_TEST_PAGES) * 4096;
	case 4:
		return rnd(&seed) % 4096;
	default:
		return rnd(&seed);
	}
}

/* A page table entry: into the test memory, the tables themselves, anywhere */
static u64 rnd_pte(void)
{
	u64 to;

	switch (rnd(&seed) % 4) {
	case 0:
		to = nested_pgt.gpa + rnd(&seed) % NESTED_NR_TABLES * 4096;
		break;
	case 1:
		to = rnd(&seed);
		break;
	default:
		to = NESTED_TEST_GPA + rnd(&seed) % (NESTED_TEST_PAGES + 16) * 4096;
		break;
	}

	return to >> 12 << 10 | (rnd(&seed) & 0x3ff) | 1;
}

#define CSR_CASE(__i, __n)						\
	case __i:							\
		csr_write(__n, rnd_value());				\
		break

static void rnd_csr(void)
{
	switch (rnd(&seed) % 26) {
	CSR_CASE(0, 0x200); CSR_CASE(1, 0x204); CSR_CASE(2, 0x205);
	CSR_CASE(3, 0x240); CSR_CASE(4, 0x241); CSR_CASE(5, 0x242);
	CSR_CASE(6, 0x243); CSR_CASE(7, 0x244); CSR_CASE(8, 0x24d);
	CSR_CASE(9, 0x250); CSR_CASE(10, 0x280); CSR_CASE(11, 0x600);
	CSR_CASE(12, 0x602); CSR_CASE(13, 0x603); CSR_CASE(14, 0x604);
	CSR_CASE(15, 0x605); CSR_CASE(16, 0x606); CSR_CASE(17, 0x607);
	CSR_CASE(18, 0x609); CSR_CASE(19, 0x60a); CSR_CASE(20, 0x60c);
	CSR_CASE(21, 0x643); CSR_CASE(22, 0x645); CSR_CASE(23, 0x646);
	CSR_CASE(24, 0x64a); CSR_CASE(25, 0x251);
	}
	/* An SRET of the trap handler must not leave L1 */
	csr_write(CSR_HSTATUS, csr_read(CSR_HSTATUS) & ~HSTATUS_SPV);
}

static void rnd_insn(void)
{
	u64 a = rnd_value(), b = rnd_value();

	switch (rnd(&seed) % 12) {
	case 0:
		asm volatile(".insn r 0x73, 0, 0x31, x0, x0, %0" :: "r" (b));
		break;
	case 1:
		asm volatile(".insn r 0x73, 0, 0x31, x0, %0, x0" :: "r" (a));
		break;
	case 2:
		asm volatile(".insn r 0x73, 0, 0x31, x0, %0, %1" :: "r" (a), "r" (b));
		break;
	case 3:
		asm volatile(".insn r 0x73, 0, 0x11, x0, %0, %1" :: "r" (a), "r" (b));
		break;
	case 4:
		asm volatile(".insn r 0x73, 0, 0x33, x0, %0, %1" :: "r" (a), "r" (b));
		break;
	case 5:
		asm volatile(".insn r 0x73, 0, 0x13, x0, %0, x0" :: "r" (a));
		break;
	case 6:
		asm volatile(".insn r 0x73, 4, 0x36, %0, %1, x0" : "=r" (b) : "r" (a));
		break;
	case 7:
		asm volatile(".insn r 0x73, 4, 0x34, %0, %1, x3" : "=r" (b) : "r" (a));
		break;
	case 8:
		asm volatile(".insn r 0x73, 4, 0x35, x0, %0, %1" :: "r" (a), "r" (b));
		break;
	case 9:
		/* Undefined neighbours of these */
		asm volatile(".insn r 0x73, 4, 0x34, %0, %1, x7" : "=r" (b) : "r" (a));
		break;
	default:
		sbi_ecall(0x52464e43, 3 + rnd(&seed) % 4, rnd_value(), rnd_value(),
			  rnd_value(), rnd_value(), rnd_value(), 0);
		break;
	}
}

static void l2_code(void)
{
	u64 i = 0;

	for (;;) {
		i = READ_ONCE(*(u64 *)(NESTED_L2_ADDR + i % NESTED_TEST_PAGES * 4096));
		WRITE_ONCE(*(u64 *)(NESTED_L2_ADDR + (i >> 9) % NESTED_TEST_PAGES * 4096), i + 1);
	}
}

static void l1_code(u64 s)
{
	u64 *root = nested_pgt.mem, i, n;

	seed = s;
	for (;;) {
		nested_init(&ctx, l2_code);
		for (n = rnd(&seed) % 4; n; n--)
			nested_map(&nested_pgt,
				   NESTED_L2_ADDR + rnd(&seed) % NESTED_TEST_PAGES * 4096,
				   NESTED_TEST_GPA + rnd(&seed) % NESTED_TEST_PAGES * 4096,
				   0, NESTED_PTE_RWX);
		/* The same page again and again */
		for (n = rnd(&seed) % 16; n; n--)
			nested_map(&nested_pgt, NESTED_L2_ADDR + rnd(&seed) % 64 * 4096,
				   NESTED_TEST_GPA + rnd(&seed) % 3 * 4096, 0, NESTED_PTE_RWX);
		/* The entry for the code of L2 is the first, leave that alone most times */
		for (n = rnd(&seed) % 8; n; n--)
			root[1 + rnd(&seed) % 2047] = rnd_pte();
		for (n = rnd(&seed) % 8; n; n--)
			*(u64 *)(NESTED_L2_ADDR + rnd(&seed) % (NESTED_TEST_PAGES * 512) * 8) =
				rnd_pte();
		for (n = rnd(&seed) % 16; n; n--)
			rnd_csr();
		for (n = rnd(&seed) % 8; n; n--)
			rnd_insn();

		if (rnd(&seed) % 4 == 0)
			ctx.sepc = rnd_value();
		if (rnd(&seed) % 4 == 0)
			csr_write(CSR_HGATP, rnd_value());
		else if (rnd(&seed) % 4)
			csr_write(CSR_HGATP, nested_hgatp(rnd(&seed) % 32));
		if (rnd(&seed) % 2)
			csr_write(CSR_VSATP, 0);
		ctx.hstatus |= rnd_value() & 0x7003c0;
		/* The timer brings L1 back, on a slow host often before L2 gets anywhere */
		csr_set(CSR_SIE, BIT(5));
		for (i = 0; i < 3; i++) {
			csr_write(CSR_STIMECMP, csr_read(CSR_TIME) + (500 << rnd(&seed) % 9));
			nested_run(&ctx);
			csr_write(CSR_STIMECMP, -1UL);
			ctx.hstatus |= HSTATUS_SPV;
		}
		csr_clear(CSR_SIE, BIT(5));
		GUEST_SYNC(0);
	}
}

/* The page tables of L1 */
static void *tables;

/* What userspace does to the memory of L1 meanwhile */
static void disturb(struct kvm_vm *vm)
{
	static unsigned long bitmap[NESTED_TEST_PAGES / 64];
	void *mem = addr_gpa2hva(vm, NESTED_TEST_GPA);

	switch (rnd(&seed) % 8) {
	case 0:
		madvise(mem, NESTED_TEST_PAGES * 4096, MADV_DONTNEED);
		break;
	case 1:
		madvise(tables + rnd(&seed) % NESTED_NR_TABLES * 4096, 4096, MADV_DONTNEED);
		break;
	case 2:
		vm_mem_region_set_flags(vm, 1, rnd(&seed) & KVM_MEM_LOG_DIRTY_PAGES);
		break;
	case 3:
		if (memslot2region(vm, 1)->region.flags & KVM_MEM_LOG_DIRTY_PAGES)
			kvm_vm_get_dirty_log(vm, 1, bitmap);
		break;
	default:
		madvise(mem + rnd(&seed) % 64 * 4096, 4096, MADV_DONTNEED);
		break;
	}
}

static void one_vm(struct nested_fuzz *fuzz, u64 s)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = nested_vm_create(&vcpu, l1_code, s % 2 ? VM_MEM_SRC_ANONYMOUS_THP :
						      VM_MEM_SRC_ANONYMOUS);
	/* Before L1 or L2 can overwrite it */
	tables = addr_gpa2hva(vm, ((struct nested_pgt *)
				   addr_gva2hva(vm, (gva_t)&nested_pgt))->gpa);
	nested_fuzz_skip_traps(vm);
	seed = s | 1;
	vcpu_args_set(vcpu, 1, seed);
	nested_fuzz_run(fuzz, vcpu, 300, disturb);
	kvm_vm_free(vm);
}

int main(int argc, char *argv[])
{
	nested_fuzz_main(argc, argv, one_vm);
}
