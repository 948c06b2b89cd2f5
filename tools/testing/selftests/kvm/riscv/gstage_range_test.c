// SPDX-License-Identifier: GPL-2.0
/*
 * What the host does to a range of a guest's memory, it does to all of it.
 *
 * The memslot begins in the middle of 2 MiB, and the guest uses single pages of it,
 * so that there are entries of page tables without anything below before, between
 * and behind them, and huge pages of the host that are in the memslot by half. Others
 * are at guest physical addresses that are not as aligned as they are, or stop being
 * huge for the guest when its writes are logged.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest.h"
#include "kvm_util.h"
#include "processor.h"
#include "ucall_common.h"

#define KIB			1024UL
#define MIB			(1024 * KIB)
#define HUGE_PAGE		(2 * MIB)
#define SLOT			1
#define SLOT_GPA		(0xc0000000UL + MIB)
#define SLOT_SIZE		(8 * MIB)
#define SLOT_PAGES		(SLOT_SIZE / (4 * KIB))
#define GUEST_PAGE		(4 * KIB)

#define PAGE_IDLE		"/sys/kernel/mm/page_idle/bitmap"
#define PAGEMAP_PFN		((1UL << 55) - 1)

/*
 * Pages of the guest, as offsets in the memslot: at 2 MiB and at 6 MiB of guest
 * physical memory, counted from 1 GiB, with 2 MiB in between that have no page, and
 * one not at the start of an entry.
 */
static const unsigned long pages[] = { MIB, 2 * MIB + 512 * KIB, 5 * MIB };
#define NR_PAGES		ARRAY_SIZE(pages)

#define CMD_READ		1
#define CMD_WRITE		2
#define CMD_READ_ONE		3
static unsigned long cmd;

/* Executes the command, and tells the sum of what it has read */
static void guest_code(void)
{
	unsigned long i, sum;

	for (;;) {
		for (i = 0, sum = 0; i < NR_PAGES; i++) {
			unsigned long *p = (unsigned long *)(SLOT_GPA + pages[i]);

			/* QEMU, for one, sets A and D when it loads its TLB */
			asm volatile("sfence.vma" : : : "memory");
			if (READ_ONCE(cmd) == CMD_WRITE)
				WRITE_ONCE(*p, i + 1);
			else if (READ_ONCE(cmd) == CMD_READ)
				sum += READ_ONCE(*p);
		}
		/* In a huge page that the memslot has the second half of */
		if (READ_ONCE(cmd) == CMD_READ_ONE)
			sum = READ_ONCE(*(unsigned long *)(SLOT_GPA + 512 * KIB));
		GUEST_SYNC(sum);
	}
}

struct guest {
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	char *hva;
};

/* What the guest has read, or -1 if it came back by another exit */
static unsigned long run(struct guest *g, unsigned long what)
{
	struct ucall uc;

	cmd = what;
	sync_global_to_guest(g->vm, cmd);
	vcpu_run(g->vcpu);
	return get_ucall(g->vcpu, &uc) == UCALL_SYNC ? uc.args[1] : -1UL;
}

/* @size bytes of memory, as much beyond a multiple of 2 MiB as the memslot is */
static void *memory(size_t size)
{
	char *p = mmap(NULL, size + 2 * HUGE_PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	TEST_ASSERT(p != MAP_FAILED, "mmap()");
	return (void *)(((unsigned long)p + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE + MIB);
}

static void new_guest(struct guest *g)
{
	struct kvm_userspace_memory_region region = {
		.slot = SLOT,
		.guest_phys_addr = SLOT_GPA,
		.memory_size = SLOT_SIZE,
	};

	g->vm = vm_create_with_one_vcpu(&g->vcpu, guest_code);
	vm_init_vector_tables(g->vm);
	vcpu_init_vector_tables(g->vcpu);
	g->hva = memory(SLOT_SIZE);
	madvise(g->hva - MIB, SLOT_SIZE + HUGE_PAGE, MADV_NOHUGEPAGE);
	region.userspace_addr = (unsigned long)g->hva;
	vm_ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &region);
	virt_map(g->vm, SLOT_GPA, SLOT_GPA, SLOT_PAGES);
}

static void set_flags(struct guest *g, unsigned int flags, size_t size)
{
	struct kvm_userspace_memory_region region = {
		.slot = SLOT,
		.flags = flags,
		.guest_phys_addr = SLOT_GPA,
		.memory_size = size,
		.userspace_addr = (unsigned long)g->hva,
	};

	vm_ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

/* Memory of a file for the whole of the memslot, with that number in each page */
static void replace(struct guest *g, unsigned long number)
{
	int fd = kvm_memfd_alloc(SLOT_SIZE, false);
	unsigned long i;

	for (i = 0; i < NR_PAGES; i++)
		TEST_ASSERT(pwrite(fd, &number, sizeof(number), pages[i]) ==
			    sizeof(number), "pwrite()");
	TEST_ASSERT(mmap(g->hva, SLOT_SIZE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, 0) == g->hva, "mmap()");
}

/* The old pages stay where they are, in the files, with their contents */
static void unmapping(void)
{
	unsigned long sum;
	struct guest g;

	new_guest(&g);
	replace(&g, 1);
	TEST_ASSERT(run(&g, CMD_READ) == NR_PAGES, "the guest does not see its memory");
	replace(&g, 1000);
	sum = run(&g, CMD_READ);
	if (sum != 1000 * NR_PAGES)
		ksft_print_msg("the sum is %lu\n", sum);
	ksft_test_result(sum == 1000 * NR_PAGES, "unmapped memory\n");

	set_flags(&g, 0, 0);
	run(&g, CMD_READ);
	ksft_test_result(g.vcpu->run->exit_reason == KVM_EXIT_MMIO &&
			 g.vcpu->run->mmio.phys_addr == SLOT_GPA + pages[0],
			 "memslot that is removed\n");
	kvm_vm_free(g.vm);
}

static void dirty_log(void)
{
	static unsigned long log[SLOT_PAGES / 64];
	unsigned long i, n;
	struct guest g;

	new_guest(&g);
	replace(&g, 1);
	/* So that they are mapped, for writing */
	run(&g, CMD_WRITE);
	set_flags(&g, KVM_MEM_LOG_DIRTY_PAGES, SLOT_SIZE);
	run(&g, CMD_WRITE);
	kvm_vm_get_dirty_log(g.vm, SLOT, log);
	for (i = 0, n = 0; i < NR_PAGES; i++) {
		unsigned long nr = pages[i] / GUEST_PAGE;

		n += log[nr / 64] >> nr % 64 & 1;
	}
	if (n != NR_PAGES)
		ksft_print_msg("%lu of %lu pages are dirty\n", n, NR_PAGES);
	ksft_test_result(n == NR_PAGES, "dirty pages\n");
	kvm_vm_free(g.vm);
}

static unsigned long read_word(const char *name, unsigned long nr)
{
	unsigned long val = 0;
	int fd = open(name, O_RDONLY);

	TEST_ASSERT(fd >= 0 && pread(fd, &val, sizeof(val), nr * sizeof(val)) ==
		    sizeof(val), "%s", name);
	close(fd);
	return val;
}

static bool is_idle(unsigned long pfn)
{
	return read_word(PAGE_IDLE, pfn / 64) >> pfn % 64 & 1;
}

/* Make the 2 MiB at @mem a huge page: the number of its first page, or 0 if it is none */
static unsigned long make_huge(char *mem)
{
	unsigned long first, other;

	madvise(mem, HUGE_PAGE, MADV_HUGEPAGE);
	memset(mem, 0, GUEST_PAGE);
	first = read_word("/proc/self/pagemap", (unsigned long)mem / GUEST_PAGE) &
		PAGEMAP_PFN;
	other = read_word("/proc/self/pagemap", (unsigned long)(mem + MIB) / GUEST_PAGE) &
		PAGEMAP_PFN;

	return other == first + MIB / GUEST_PAGE ? first : 0;
}

/* Why the host may take a huge page for idle that the guest uses, NULL if it does not */
static const char *idle_after(struct guest *g, int fd, char *mem, unsigned long how)
{
	unsigned long pfn = make_huge(mem), bit = 1UL << pfn % 64;

	if (!pfn)
		return "it is not huge";

	run(g, how);
	TEST_ASSERT(pwrite(fd, &bit, sizeof(bit), pfn / 64 * 8) == sizeof(bit), PAGE_IDLE);
	if (!is_idle(pfn))
		return "it never is idle";
	run(g, how);

	return is_idle(pfn) ? "a whole one is idle, too" : NULL;
}

/*
 * A huge page that the host has asked whether it is in use. Translations that a hart
 * keeps may hide that it is, so first one that all of is in the memslot.
 */
static void age(void)
{
	static const char name[] = "huge page in use that is in the memslot by half";
	const char *why = "there is no " PAGE_IDLE;
	struct guest g;
	int fd;

	fd = open(PAGE_IDLE, O_WRONLY);
	if (fd >= 0) {
		new_guest(&g);
		why = idle_after(&g, fd, g.hva + MIB, CMD_READ);
		if (!why) {
			why = idle_after(&g, fd, g.hva - MIB, CMD_READ_ONE);
			ksft_test_result(!why, "%s\n", name);
			why = NULL;
		}
		close(fd);
		kvm_vm_free(g.vm);
	}
	if (why)
		ksft_test_result_skip("%s: %s\n", name, why);
}

/* --- Huge pages that userspace has asked for (hugetlb) --------------------------- */

#define NR_HUGE			16
#define NR_HUGE_FILE		"/proc/sys/vm/nr_hugepages"

static unsigned long where;

static void one_word_guest(void)
{
	for (;;) {
		unsigned long *p = (unsigned long *)READ_ONCE(where);

		if (READ_ONCE(cmd) == CMD_WRITE)
			WRITE_ONCE(*p, 1);
		GUEST_SYNC(READ_ONCE(*p));
	}
}

static unsigned long run_at(struct guest *g, unsigned long gpa, unsigned long what)
{
	where = gpa;
	sync_global_to_guest(g->vm, where);
	return run(g, what);
}

static bool have_huge_pages(void)
{
	char text[32] = "";
	int fd = open(NR_HUGE_FILE, O_RDWR);

	if (fd < 0)
		return false;
	snprintf(text, sizeof(text), "%d", NR_HUGE);
	if (pwrite(fd, text, strlen(text), 0) > 0)
		TEST_ASSERT(pread(fd, text, sizeof(text) - 1, 0) > 0, NR_HUGE_FILE);
	close(fd);
	return atoi(text) >= NR_HUGE;
}

/* Two huge pages of a file, with a number that grows in each small page of them */
static void map_huge(char *to, unsigned long number)
{
	int fd = kvm_memfd_alloc(2 * HUGE_PAGE, true);
	unsigned long i;

	TEST_ASSERT(mmap(to, 2 * HUGE_PAGE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, 0) == to, "mmap()");
	for (i = 0; i < 2 * HUGE_PAGE; i += GUEST_PAGE)
		*(unsigned long *)(to + i) = number + i / GUEST_PAGE;
}

/* A memslot for the memory from @offset of two huge pages on */
static char *new_huge_guest(struct guest *g, unsigned long gpa, unsigned long offset,
			    unsigned long size)
{
	char *mem = (char *)memory(2 * HUGE_PAGE) - MIB;
	struct kvm_userspace_memory_region region = {
		.slot = SLOT,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (unsigned long)mem + offset,
	};

	map_huge(mem, 1000);
	g->vm = vm_create_with_one_vcpu(&g->vcpu, one_word_guest);
	g->hva = mem + offset;
	vm_ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &region);
	virt_map(g->vm, SLOT_GPA - MIB, SLOT_GPA - MIB, 8 * MIB / GUEST_PAGE);
	return mem;
}

static void huge_by_half(void)
{
	unsigned long word;
	struct guest g;
	char *mem;

	mem = new_huge_guest(&g, SLOT_GPA, MIB, HUGE_PAGE);
	word = run_at(&g, SLOT_GPA, CMD_READ);
	ksft_test_result(word == 1000 + MIB / GUEST_PAGE, "huge page by half\n");

	map_huge(mem, 5000);
	word = run_at(&g, SLOT_GPA, CMD_READ);
	ksft_test_result(word == 5000 + MIB / GUEST_PAGE, "huge page by half, unmapped\n");

	run_at(&g, SLOT_GPA - MIB / 2, CMD_READ);
	ksft_test_result(g.vcpu->run->exit_reason == KVM_EXIT_MMIO,
			 "its half without a memslot\n");
	kvm_vm_free(g.vm);
}

static void huge_unaligned(void)
{
	unsigned long i, good = 0;
	struct guest g;

	new_huge_guest(&g, SLOT_GPA, 0, 2 * HUGE_PAGE);
	for (i = 0; i < 2 * HUGE_PAGE; i += MIB / 2)
		good += run_at(&g, SLOT_GPA + i, CMD_READ) == 1000 + i / GUEST_PAGE;
	ksft_test_result(good == 2 * HUGE_PAGE / (MIB / 2),
			 "huge pages at another alignment\n");
	kvm_vm_free(g.vm);
}

static void huge_dirty_log(void)
{
	unsigned long first = 7, second = 9, log[2 * HUGE_PAGE / GUEST_PAGE / 64] = { 0 };
	unsigned long gpa = SLOT_GPA + MIB;
	struct kvm_userspace_memory_region region = {
		.slot = SLOT,
		.flags = KVM_MEM_LOG_DIRTY_PAGES,
		.guest_phys_addr = gpa,
		.memory_size = 2 * HUGE_PAGE,
	};
	struct guest g;
	bool good;

	region.userspace_addr = (unsigned long)new_huge_guest(&g, gpa, 0, 2 * HUGE_PAGE);
	run_at(&g, gpa + first * GUEST_PAGE, CMD_WRITE);
	vm_ioctl(g.vm, KVM_SET_USER_MEMORY_REGION, &region);
	run_at(&g, gpa + first * GUEST_PAGE, CMD_WRITE);
	run_at(&g, gpa + second * GUEST_PAGE, CMD_READ);
	kvm_vm_get_dirty_log(g.vm, SLOT, log);
	ksft_test_result(log[0] == 1UL << first, "dirty pages of a huge page\n");

	region.flags = 0;
	vm_ioctl(g.vm, KVM_SET_USER_MEMORY_REGION, &region);
	run_at(&g, gpa + second * GUEST_PAGE, CMD_WRITE);
	good = *(unsigned long *)(g.hva + second * GUEST_PAGE) == 1;
	good &= run_at(&g, gpa + 11 * GUEST_PAGE, CMD_READ) == 1000 + 11;
	ksft_test_result(good, "its pages when writes are not logged any more\n");
	kvm_vm_free(g.vm);
}

static void hugetlb(void)
{
	int i;

	if (!have_huge_pages()) {
		for (i = 0; i < 6; i++)
			ksft_test_result_skip("no huge pages in " NR_HUGE_FILE "\n");
		return;
	}
	/* A guest that faults for ever */
	alarm(60);
	huge_by_half();
	huge_unaligned();
	huge_dirty_log();
	alarm(0);
}

int main(void)
{
	ksft_print_header();
	ksft_set_plan(10);

	unmapping();
	dirty_log();
	age();
	hugetlb();

	ksft_finished();
}
