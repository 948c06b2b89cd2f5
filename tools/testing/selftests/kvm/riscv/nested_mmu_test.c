// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: what userspace does to memory of L1 reaches L2.
 *
 * L2 works on memory that L1 mapped for it, with each page size of L1 on each of
 * L0. First it reports through a device of L1 after each round; in between,
 * userspace logs dirty pages, drops pages, and removes the memslot. Then it
 * works while userspace does that.
 */
#include <linux/bitmap.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm_util.h"
#include "processor.h"
#include "nested.h"
#include "ucall_common.h"
#include "kselftest.h"

/* Beyond the gigabyte that a leaf of 1 GiB maps */
#define L2_DEVICE	(NESTED_L2_ADDR + 0x40000000)
#define PAGES		NESTED_TEST_PAGES
#define HUGE_PAGES	512
#define STRIDE		7
#define TEST_SLOT	1

/* Times that userspace interferes, and how long it looks at what L2 does */
#define CONCURRENT	20
#define LOOK_US		2000

/* Shared with the test program */
static struct nested_ctx ctx;
static u64 l1_level;
static u64 rounds, stop;

/* Write some pages, a different set each round, then add all of them up */
static void l2_code(void)
{
	u32 *dev = (u32 *)L2_DEVICE;
	u32 round, sum;
	u64 i;

	for (round = 0; ; round++) {
		for (i = round % STRIDE; i < PAGES; i += STRIDE)
			WRITE_ONCE(*(u32 *)(NESTED_L2_ADDR + i * 4096), round * 1000 + i);
		for (i = 0, sum = 0; i < PAGES; i++)
			sum += READ_ONCE(*(u32 *)(NESTED_L2_ADDR + i * 4096));
		WRITE_ONCE(*dev, sum);
	}
}

/* Write other values all the time */
static void l2_write(void)
{
	u64 i, value = 0;

	while (!READ_ONCE(stop)) {
		for (i = 0; i < PAGES; i++)
			WRITE_ONCE(*(u64 *)(NESTED_L2_ADDR + i * 4096), ++value);
		WRITE_ONCE(rounds, READ_ONCE(rounds) + 1);
	}
	nested_l2_call(0);
}

static void l1_run(void (*l2)(void))
{
	u64 i, step = 1UL << (9 * l1_level);

	nested_init(&ctx, l2);
	nested_map(&nested_pgt, L2_DEVICE, NESTED_MMIO_GPA, 0, NESTED_PTE_RWX);
	for (i = 0; i < PAGES; i += step)
		nested_map(&nested_pgt, NESTED_L2_ADDR + i * 4096,
			   NESTED_TEST_GPA + i * 4096, l1_level, NESTED_PTE_RWX);
	nested_run(&ctx);
	__GUEST_ASSERT(ctx.scause == 10, "L2 left with %lx, stval %lx",
		       ctx.scause, ctx.stval);
	GUEST_DONE();
}

static void l1_report(void)
{
	l1_run(l2_code);
}

static void l1_write(void)
{
	l1_run(l2_write);
}

/* Run L2 until it reports; returns what it says */
static u32 run_round(struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	vcpu_run(vcpu);
	if (vcpu->run->exit_reason != KVM_EXIT_MMIO) {
		get_ucall(vcpu, &uc);
		TEST_FAIL("exit %d, ucall %lu: %s", vcpu->run->exit_reason, uc.cmd, uc.buffer);
	}
	TEST_ASSERT(vcpu->run->mmio.is_write &&
		    vcpu->run->mmio.phys_addr == NESTED_MMIO_GPA,
		    "MMIO at %llx", vcpu->run->mmio.phys_addr);

	return *(u32 *)vcpu->run->mmio.data;
}

static u32 host_sum(void *mem)
{
	u32 sum = 0;
	int i;

	for (i = 0; i < PAGES; i++)
		sum += READ_ONCE(*(u32 *)(mem + i * 4096));

	return sum;
}

static bool test_plain(struct kvm_vm *vm, struct kvm_vcpu *vcpu, void *mem,
		       size_t page)
{
	u64 maps = PAGES;
	int i;

	for (i = 0; i < 3; i++) {
		if (run_round(vcpu) != host_sum(mem))
			return false;
	}

	/* The smaller of both page sizes is what L2 gets */
	if (page == getpagesize() || !*(u64 *)addr_gva2hva(vm, (gva_t)&l1_level))
		return vcpu_get_stat(vcpu, nested_shadow_maps) >= maps;

	maps = vcpu_get_stat(vcpu, nested_shadow_maps);
	if (maps < PAGES)
		return true;

	ksft_print_msg("%lu faults, so the pages are small\n", maps);
	return false;
}

static bool test_dirty_log(struct kvm_vm *vm, struct kvm_vcpu *vcpu, void *mem,
			   size_t page)
{
	unsigned long *bitmap = bitmap_zalloc(PAGES);
	bool ok = true;
	int i, round;

	run_round(vcpu);
	vm_mem_region_set_flags(vm, TEST_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
	for (round = 1; round < 2 * STRIDE; round++) {
		ok &= run_round(vcpu) == host_sum(mem);
		kvm_vm_get_dirty_log(vm, TEST_SLOT, bitmap);
		for (i = 0; i < PAGES; i++) {
			if (test_bit(i, bitmap) == (i % STRIDE == round % STRIDE))
				continue;
			ksft_print_msg("round %d: page %d is %sdirty\n", round, i,
				       test_bit(i, bitmap) ? "" : "not ");
			ok = false;
			break;
		}
	}
	vm_mem_region_set_flags(vm, TEST_SLOT, 0);
	ok &= run_round(vcpu) == host_sum(mem);
	free(bitmap);

	return ok;
}

/* Pages that are dropped come back as zero */
static bool test_drop(struct kvm_vm *vm, struct kvm_vcpu *vcpu, void *mem,
		      size_t page)
{
	size_t drop = ALIGN_DOWN(PAGES * 4096 / 2, page);
	bool ok = true;
	int i;

	for (i = 0; i < 10; i++) {
		ok &= run_round(vcpu) == host_sum(mem);
		TEST_ASSERT(!madvise(mem + i % 2 * drop, drop, MADV_DONTNEED), "madvise");
		/* The sum of L2 was complete before; now half of it is zero */
		ok &= run_round(vcpu) == host_sum(mem);
	}

	return ok;
}

/* Read-only for userspace is read-only for L2, until it is not any more */
static bool test_protect(struct kvm_vm *vm, struct kvm_vcpu *vcpu, void *mem,
			 size_t page)
{
	bool ok = true;
	int i;

	for (i = 0; i < 5; i++) {
		ok &= run_round(vcpu) == host_sum(mem);
		TEST_ASSERT(!mprotect(mem, PAGES * 4096, PROT_NONE), "mprotect");
		TEST_ASSERT(!mprotect(mem, PAGES * 4096, PROT_READ | PROT_WRITE), "mprotect");
	}

	return ok;
}

/* Without its memslot the memory of L1 is a device */
static bool test_memslot(struct kvm_vm *vm, struct kvm_vcpu *vcpu, void *mem,
			 size_t page)
{
	run_round(vcpu);
	run_round(vcpu);
	vm_mem_region_delete(vm, TEST_SLOT);
	vcpu_run(vcpu);

	return vcpu->run->exit_reason == KVM_EXIT_MMIO && vcpu->run->mmio.is_write &&
	       vcpu->run->mmio.phys_addr == NESTED_TEST_GPA + 2 * 4096;
}

static void *vcpu_worker(void *arg)
{
	struct kvm_vcpu *vcpu = arg;
	struct ucall uc;
	int ret;

	for (;;) {
		ret = _vcpu_run(vcpu);
		/* Memory that is not there now will be there again */
		if (ret && errno == EFAULT) {
			usleep(100);
			continue;
		}
		TEST_ASSERT(!ret, "KVM_RUN: errno %d", errno);
		if (vcpu->run->exit_reason == KVM_EXIT_MMIO)
			continue;

		if (get_ucall(vcpu, &uc) == UCALL_ABORT)
			REPORT_GUEST_ASSERT(uc);
		TEST_ASSERT(uc.cmd == UCALL_DONE, "exit %d", vcpu->run->exit_reason);
		return NULL;
	}
}

/* Nothing may change in memory that L2 was not to write to any more */
static bool at_rest(void *mem, const char *what)
{
	static u64 before[PAGES];
	int i;

	for (i = 0; i < PAGES; i++)
		before[i] = READ_ONCE(*(u64 *)(mem + i * 4096));
	usleep(LOOK_US);
	for (i = 0; i < PAGES; i++) {
		if (before[i] == READ_ONCE(*(u64 *)(mem + i * 4096)))
			continue;
		ksft_print_msg("L2 wrote to page %d %s\n", i, what);
		return false;
	}

	return true;
}

/* Let L2 write to all pages at least once from now on */
static void wait_rounds(struct kvm_vm *vm)
{
	u64 *n = addr_gva2hva(vm, (gva_t)&rounds);
	u64 old = READ_ONCE(*n);

	while (READ_ONCE(*n) < old + 2)
		usleep(100);
}

static bool run_protect(struct kvm_vm *vm, void *mem, size_t page)
{
	bool ok;

	TEST_ASSERT(!mprotect(mem, PAGES * 4096, PROT_READ), "mprotect");
	ok = at_rest(mem, "that is read-only");
	TEST_ASSERT(!mprotect(mem, PAGES * 4096, PROT_READ | PROT_WRITE), "mprotect");

	return ok;
}

static bool run_memslot(struct kvm_vm *vm, void *mem, size_t page)
{
	struct userspace_mem_region *region = memslot2region(vm, TEST_SLOT);
	u64 size = region->region.memory_size;
	bool ok;

	region->region.memory_size = 0;
	vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &region->region);
	ok = at_rest(mem, "of a memslot that is gone");
	region->region.memory_size = size;
	vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &region->region);

	return ok;
}

static bool run_drop(struct kvm_vm *vm, void *mem, size_t page)
{
	int i;

	TEST_ASSERT(!madvise(mem, PAGES * 4096, MADV_DONTNEED), "madvise");
	wait_rounds(vm);
	for (i = 0; i < PAGES; i++) {
		if (READ_ONCE(*(u64 *)(mem + i * 4096)))
			continue;
		ksft_print_msg("L2 writes to what was page %d\n", i);
		return false;
	}

	return true;
}

/* What L2 writes while pages are logged is in the log, sooner or later */
static bool run_dirty_log(struct kvm_vm *vm, void *mem, size_t page)
{
	unsigned long *bitmap = bitmap_zalloc(PAGES);
	static u64 copy[PAGES];
	bool ok = true;
	int i, n;

	vm_mem_region_set_flags(vm, TEST_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
	for (i = 0; i < PAGES; i++)
		copy[i] = READ_ONCE(*(u64 *)(mem + i * 4096));
	for (n = 0; n < 3; n++) {
		usleep(LOOK_US);
		/* The last one with L2 unable to write */
		if (n == 2)
			TEST_ASSERT(!mprotect(mem, PAGES * 4096, PROT_READ), "mprotect");
		kvm_vm_get_dirty_log(vm, TEST_SLOT, bitmap);
		for (i = 0; i < PAGES; i++) {
			if (test_bit(i, bitmap))
				copy[i] = READ_ONCE(*(u64 *)(mem + i * 4096));
		}
	}
	for (i = 0; i < PAGES && ok; i++) {
		ok = copy[i] == READ_ONCE(*(u64 *)(mem + i * 4096));
		if (!ok)
			ksft_print_msg("page %d is dirty, but not in the log\n", i);
	}
	TEST_ASSERT(!mprotect(mem, PAGES * 4096, PROT_READ | PROT_WRITE), "mprotect");
	vm_mem_region_set_flags(vm, TEST_SLOT, 0);
	free(bitmap);

	return ok;
}

static bool test_running(struct kvm_vm *vm, struct kvm_vcpu *vcpu, void *mem, size_t page,
			 bool (*fn)(struct kvm_vm *vm, void *mem, size_t page))
{
	pthread_t thread;
	bool ok = true;
	int i;

	vcpu_arch_set_entry_point(vcpu, l1_write);
	pthread_create(&thread, NULL, vcpu_worker, vcpu);
	for (i = 0; i < CONCURRENT; i++) {
		wait_rounds(vm);
		ok &= fn(vm, mem, page);
	}
	wait_rounds(vm);
	WRITE_ONCE(*(u64 *)addr_gva2hva(vm, (gva_t)&stop), 1);
	pthread_join(thread, NULL);

	return ok;
}

#define TEST_RUNNING(__name)							\
static bool test_running_##__name(struct kvm_vm *vm, struct kvm_vcpu *vcpu,	\
				  void *mem, size_t page)			\
{										\
	return test_running(vm, vcpu, mem, page, run_##__name);			\
}

TEST_RUNNING(protect)
TEST_RUNNING(memslot)
TEST_RUNNING(drop)
TEST_RUNNING(dirty_log)

static const struct {
	const char *name;
	bool (*fn)(struct kvm_vm *vm, struct kvm_vcpu *vcpu, void *mem, size_t page);
} tests[] = {
	{ "access", test_plain },
	{ "dirty logging", test_dirty_log },
	{ "dropped pages", test_drop },
	{ "protection", test_protect },
	{ "memslot removal", test_memslot },
	{ "dirty logging while L2 runs", test_running_dirty_log },
	{ "dropped pages while L2 runs", test_running_drop },
	{ "protection while L2 runs", test_running_protect },
	{ "memslot removal while L2 runs", test_running_memslot },
};

static const struct {
	const char *name;
	enum vm_mem_backing_src_type src;
} backings[] = {
	{ "4K", VM_MEM_SRC_ANONYMOUS },
	{ "THP", VM_MEM_SRC_ANONYMOUS_THP },
	{ "hugetlb 2M", VM_MEM_SRC_ANONYMOUS_HUGETLB_2MB },
};

static const char * const l1_sizes[] = { "4K", "2M", "1G" };

/* Ask the kernel for enough huge pages; what it was able to do shows later */
static bool have_hugetlb(void)
{
	const char *path = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
	unsigned long n = 0;
	FILE *f;

	f = fopen(path, "r+");
	if (!f)
		return false;
	fprintf(f, "%d", 2 * PAGES / HUGE_PAGES);
	rewind(f);
	if (fscanf(f, "%lu", &n) != 1)
		n = 0;
	fclose(f);

	return n >= 2 * PAGES / HUGE_PAGES;
}

static void run_test(int test, int level, int backing)
{
	enum vm_mem_backing_src_type src = backings[backing].src;
	size_t page = get_backing_src_pagesz(src);
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	bool ok;

	vm = nested_vm_create(&vcpu, l1_report, src);
	*(u64 *)addr_gva2hva(vm, (gva_t)&l1_level) = level;
	ok = tests[test].fn(vm, vcpu, addr_gpa2hva(vm, NESTED_TEST_GPA), page);
	ksft_test_result(ok, "%s, L1 %s, L0 %s\n", tests[test].name, l1_sizes[level],
			 backings[backing].name);
	kvm_vm_free(vm);
}

static void help(const char *name)
{
	printf("usage: %s [-l level]\n"
	       "  -l  only pages of this level in L1: 0, 1 or 2 (default all)\n", name);
	exit(KSFT_FAIL);
}

int main(int argc, char *argv[])
{
	int first = 0, last = ARRAY_SIZE(l1_sizes) - 1;
	int i, level, b, opt;

	while ((opt = getopt(argc, argv, "l:")) != -1) {
		if (opt != 'l')
			help(argv[0]);
		level = atoi(optarg);
		if (level < first || level > last)
			help(argv[0]);
		first = level;
		last = level;
	}

	ksft_print_header();
	if (!nested_supported())
		ksft_exit_skip("KVM does not offer the H extension, see kvm.nested\n");

	ksft_set_plan(ARRAY_SIZE(tests) * (last - first + 1) * ARRAY_SIZE(backings));
	for (b = 0; b < ARRAY_SIZE(backings); b++) {
		bool have = backings[b].src != VM_MEM_SRC_ANONYMOUS_HUGETLB_2MB ||
			    have_hugetlb();

		for (level = first; level <= last; level++) {
			for (i = 0; i < ARRAY_SIZE(tests); i++) {
				if (have)
					run_test(i, level, b);
				else
					ksft_test_result_skip("%s, L1 %s, L0 %s\n",
							      tests[i].name,
							      l1_sizes[level],
							      backings[b].name);
			}
		}
	}
	ksft_finished();
}
