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
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

#include "kvm_util.h"
#include "processor.h"
#include "nested.h"
#include "ucall_common.h"
#include "kselftest.h"

static struct nested_ctx ctx;
static u64 seed;

static u64 rnd(void)
{
	/* xorshift64 */
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Random, but often something that nearly makes sense */
static u64 rnd_value(void)
{
	switch (rnd() % 6) {
	case 0:
		return 0;
	case 1:
		return ~0UL;
	case 2:
		return BIT(rnd() % 64);
	case 3:
		return NESTED_L2_ADDR + rnd() % (2 * NESTED_TEST_PAGES) * 4096;
	case 4:
		return rnd() % 4096;
	default:
		return rnd();
	}
}

/* A page table entry: into the test memory, the tables themselves, anywhere */
static u64 rnd_pte(void)
{
	u64 to;

	switch (rnd() % 4) {
	case 0:
		to = nested_pgt.gpa + rnd() % NESTED_NR_TABLES * 4096;
		break;
	case 1:
		to = rnd();
		break;
	default:
		to = NESTED_TEST_GPA + rnd() % (NESTED_TEST_PAGES + 16) * 4096;
		break;
	}

	return to >> 12 << 10 | (rnd() & 0x3ff) | 1;
}

static void l1_trap(struct pt_regs *regs)
{
	regs->epc += 4;
}

#define CSR_CASE(__i, __n)						\
	case __i:							\
		csr_write(__n, rnd_value());				\
		break

static void rnd_csr(void)
{
	switch (rnd() % 26) {
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

	switch (rnd() % 12) {
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
		sbi_ecall(0x52464e43, 3 + rnd() % 4, rnd_value(), rnd_value(),
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
		for (n = rnd() % 4; n; n--)
			nested_map(&nested_pgt, NESTED_L2_ADDR + rnd() % NESTED_TEST_PAGES * 4096,
				   NESTED_TEST_GPA + rnd() % NESTED_TEST_PAGES * 4096,
				   0, NESTED_PTE_RWX);
		/* The same page again and again */
		for (n = rnd() % 16; n; n--)
			nested_map(&nested_pgt, NESTED_L2_ADDR + rnd() % 64 * 4096,
				   NESTED_TEST_GPA + rnd() % 3 * 4096, 0, NESTED_PTE_RWX);
		/* The entry for the code of L2 is the first, leave that alone most times */
		for (n = rnd() % 8; n; n--)
			root[1 + rnd() % 2047] = rnd_pte();
		for (n = rnd() % 8; n; n--)
			*(u64 *)(NESTED_L2_ADDR + rnd() % (NESTED_TEST_PAGES * 512) * 8) =
				rnd_pte();
		for (n = rnd() % 16; n; n--)
			rnd_csr();
		for (n = rnd() % 8; n; n--)
			rnd_insn();

		if (rnd() % 4 == 0)
			ctx.sepc = rnd_value();
		if (rnd() % 4 == 0)
			csr_write(CSR_HGATP, rnd_value());
		else if (rnd() % 4)
			csr_write(CSR_HGATP, nested_hgatp(rnd() % 32));
		if (rnd() % 2)
			csr_write(CSR_VSATP, 0);
		ctx.hstatus |= rnd_value() & 0x7003c0;
		/* The timer brings L1 back */
		csr_set(CSR_SIE, BIT(5));
		for (i = 0; i < 3; i++) {
			csr_write(CSR_STIMECMP, csr_read(CSR_TIME) + 500);
			nested_run(&ctx);
			csr_write(CSR_STIMECMP, -1UL);
			ctx.hstatus |= HSTATUS_SPV;
		}
		csr_clear(CSR_SIE, BIT(5));
		GUEST_SYNC(0);
	}
}

/* What userspace does to the memory of L1 meanwhile */
static void disturb(struct kvm_vm *vm, void *tables)
{
	static unsigned long bitmap[NESTED_TEST_PAGES / 64];
	void *mem = addr_gpa2hva(vm, NESTED_TEST_GPA);

	switch (rnd() % 8) {
	case 0:
		madvise(mem, NESTED_TEST_PAGES * 4096, MADV_DONTNEED);
		break;
	case 1:
		madvise(tables + rnd() % NESTED_NR_TABLES * 4096, 4096, MADV_DONTNEED);
		break;
	case 2:
		vm_mem_region_set_flags(vm, 1, rnd() & KVM_MEM_LOG_DIRTY_PAGES);
		break;
	case 3:
		if (memslot2region(vm, 1)->region.flags & KVM_MEM_LOG_DIRTY_PAGES)
			kvm_vm_get_dirty_log(vm, 1, bitmap);
		break;
	default:
		madvise(mem + rnd() % 64 * 4096, 4096, MADV_DONTNEED);
		break;
	}
}

static void on_alarm(int sig)
{
}

/* A signal may make KVM_CREATE_VM fail, so let the watchdog bark in KVM_RUN only */
static void watch(bool on)
{
	sigset_t alarm;

	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	pthread_sigmask(on ? SIG_UNBLOCK : SIG_BLOCK, &alarm, NULL);
}

/* The other VM: computes, and shows what it has */
static u64 witness_next(u64 h)
{
	int i;

	for (i = 0; i < 1000; i++)
		h = h * 6364136223846793005UL + 1442695040888963407UL;

	return h;
}

static void witness_code(void)
{
	u64 h = 1;

	for (;;) {
		h = witness_next(h);
		GUEST_SYNC(h);
	}
}

static bool witness_ok(struct kvm_vcpu *vcpu, u64 *h)
{
	struct ucall uc;
	int ret;

	do {
		ret = __vcpu_run(vcpu);
	} while (ret && errno == EINTR);

	*h = witness_next(*h);

	return !ret && get_ucall(vcpu, &uc) == UCALL_SYNC && uc.args[1] == *h;
}

/* Sum of the numbers in a file of /proc that follow a word */
static long sum_of(const char *file, const char *word)
{
	char line[256];
	long sum = 0;
	char *at;
	FILE *f = fopen(file, "r");

	TEST_ASSERT(f, "%s: %s", file, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		at = strstr(line, word);
		if (at)
			sum += atol(at + strlen(word));
	}
	fclose(f);

	return sum;
}

/* Memory that nobody keeps, in KiB; also what lies on the lists of the CPUs */
static long free_memory(void)
{
	return sum_of("/proc/meminfo", "MemFree:") +
	       sum_of("/proc/meminfo", "KReclaimable:") +
	       sum_of("/proc/zoneinfo", " count:") * (getpagesize() / 1024);
}

/*
 * Free memory goes up and down by some 6 MiB between two looks at an idle machine
 * that has run VMs. The page tables of one VM would show after a minute, a page
 * for each VM after ten.
 */
#define LEAK_TOLERANCE_KB	8192

/* Some memory comes back a little later */
static long lost_memory(long before)
{
	long lost;
	int i;

	for (i = 0; i < 20; i++) {
		lost = before - free_memory();
		if (lost < LEAK_TOLERANCE_KB / 2)
			break;
		usleep(100000);
	}

	return lost;
}

static void help(const char *name)
{
	printf("usage: %s [-q] [-t seconds] [-s seed]\n"
	       "  -q  the kernel keeps freed memory in quarantine (KASAN): do not look for leaks\n",
	       name);
	exit(KSFT_FAIL);
}

int main(int argc, char *argv[])
{
	/* L1 may well get stuck, but never so that a signal does not end it */
	struct itimerval watchdog = { .it_value.tv_usec = 300000,
				      .it_interval.tv_usec = 300000 };
	struct sigaction sa = { .sa_handler = on_alarm };
	u64 s = time(NULL), rounds = 0, errors = 0, stuck = 0, unharmed = 0, h = 1;
	struct kvm_vcpu *vcpu, *witness;
	struct kvm_vm *vm, *witness_vm;
	long before = 0, lost;
	int i, ret, n, opt, seconds = 5;
	bool quarantine = false;
	void *tables;
	time_t end;

	while ((opt = getopt(argc, argv, "qt:s:")) != -1) {
		switch (opt) {
		case 'q':
			quarantine = true;
			break;
		case 't':
			seconds = atoi_positive("seconds", optarg);
			break;
		case 's':
			s = strtoul(optarg, NULL, 0);
			break;
		default:
			help(argv[0]);
		}
	}
	end = time(NULL) + seconds;

	ksft_print_header();
	if (!nested_supported())
		ksft_exit_skip("KVM does not offer the H extension, see kvm.nested\n");
	ksft_set_plan(3);
	watch(false);
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &watchdog, NULL);
	ksft_print_msg("seed %lu\n", (unsigned long)s);

	witness_vm = vm_create_with_one_vcpu(&witness, witness_code);
	while (time(NULL) < end || rounds < 4) {
		/* The first rounds fill caches */
		if (rounds == 3)
			before = free_memory();
		vm = nested_vm_create(&vcpu, l1_code, rounds % 2 ? VM_MEM_SRC_ANONYMOUS_THP :
								   VM_MEM_SRC_ANONYMOUS);
		/* Before L1 or L2 can overwrite it */
		tables = addr_gpa2hva(vm, ((struct nested_pgt *)
					   addr_gva2hva(vm, (gva_t)&nested_pgt))->gpa);
		seed = s | 1;
		vcpu_args_set(vcpu, 1, s++ | 1);
		for (i = 0; i < 32; i++)
			vm_install_exception_handler(vm, i, l1_trap);

		watch(true);
		for (n = 0; n < 50; n++) {
			ret = __vcpu_run(vcpu);
			/* An access that KVM cannot emulate ends the VM */
			if (ret) {
				if (errno == EINTR)
					stuck++;
				else
					errors++;
				break;
			}
			if (vcpu->run->exit_reason != KVM_EXIT_MMIO &&
			    vcpu->run->exit_reason != KVM_EXIT_RISCV_SBI)
				break;
			disturb(vm, tables);
		}
		watch(false);
		rounds++;
		kvm_vm_free(vm);
		unharmed += witness_ok(witness, &h);
	}
	lost = lost_memory(before);
	kvm_vm_free(witness_vm);
	ksft_print_msg("%lu VMs: KVM_RUN failed in %lu, %lu took too long\n",
		       rounds, errors, stuck);
	ksft_test_result(rounds > 0, "the host survived\n");
	ksft_test_result(unharmed == rounds, "another VM did not notice\n");
	ksft_print_msg("%ld KiB less memory than before\n", lost);
	if (quarantine)
		ksft_test_result_skip("no memory was lost: it is in quarantine\n");
	else
		ksft_test_result(lost < LEAK_TOLERANCE_KB, "no memory was lost\n");
	ksft_finished();
}
