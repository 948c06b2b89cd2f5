// SPDX-License-Identifier: GPL-2.0-only
/*
 * What tests with a hostile L1 have in common.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>

#include "kvm_util.h"
#include "processor.h"
#include "nested.h"
#include "nested_fuzz.h"
#include "ucall_common.h"
#include "kselftest.h"

static void l1_trap(struct pt_regs *regs)
{
	regs->epc += 4;
}

/**
 * nested_fuzz_skip_traps() - let L1 go on after whatever traps
 * @vm: a VM whose vCPUs have vector tables
 */
void nested_fuzz_skip_traps(struct kvm_vm *vm)
{
	int i;

	for (i = 0; i < 32; i++)
		vm_install_exception_handler(vm, i, l1_trap);
}

static void on_alarm(int sig)
{
}

static void mask_alarm(int how)
{
	sigset_t alarm;

	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	pthread_sigmask(how, &alarm, NULL);
}

/*
 * L1 may well get stuck, but never so that a signal does not end it. That is for
 * KVM_RUN and nothing else: making a VM would fail, too. Should it come just before
 * KVM_RUN, the next one ends that.
 */
static int watched_run(struct kvm_vcpu *vcpu, unsigned int limit_ms)
{
	struct itimerval off = { 0 }, watchdog = {
		.it_value = { limit_ms / 1000, limit_ms % 1000 * 1000 },
		.it_interval.tv_usec = 100000,
	};
	int ret, err;

	setitimer(ITIMER_REAL, &watchdog, NULL);
	mask_alarm(SIG_UNBLOCK);
	ret = __vcpu_run(vcpu);
	err = errno;
	setitimer(ITIMER_REAL, &off, NULL);
	mask_alarm(SIG_BLOCK);
	errno = err;

	return ret;
}

static void run(struct nested_fuzz *fuzz, struct kvm_vcpu *vcpu,
		unsigned int limit_ms, void (*disturb)(struct kvm_vm *vm))
{
	int i;

	for (i = 0; i < 50; i++) {
		if (watched_run(vcpu, limit_ms)) {
			if (errno == EINTR)
				fuzz->stuck++;
			else
				fuzz->errors++;
			return;
		}
		if (vcpu->run->exit_reason != KVM_EXIT_MMIO &&
		    vcpu->run->exit_reason != KVM_EXIT_RISCV_SBI)
			return;
		if (disturb)
			disturb(vcpu->vm);
	}
}

/**
 * nested_fuzz_run() - run L1 until it is stuck, or has come out often enough
 * @fuzz: counts what it did, and how it ended
 * @vcpu: vCPU of L1
 * @limit_ms: milliseconds after which it is stuck
 * @disturb: what to do to the VM after each exit, or NULL
 */
void nested_fuzz_run(struct nested_fuzz *fuzz, struct kvm_vcpu *vcpu,
		     unsigned int limit_ms, void (*disturb)(struct kvm_vm *vm))
{
	run(fuzz, vcpu, limit_ms, disturb);
	fuzz->entries += vcpu_get_stat(vcpu, nested_entries);
	fuzz->maps += vcpu_get_stat(vcpu, nested_shadow_maps);
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

	ret = __vcpu_run(vcpu);
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

struct options {
	u64 seed;
	int seconds;
	bool quarantine;
};

static void parse(struct options *o, int argc, char *argv[])
{
	int opt;

	while ((opt = getopt(argc, argv, "qt:s:")) != -1) {
		switch (opt) {
		case 'q':
			o->quarantine = true;
			break;
		case 't':
			o->seconds = atoi_positive("seconds", optarg);
			break;
		case 's':
			o->seed = strtoul(optarg, NULL, 0);
			break;
		default:
			printf("usage: %s [-q] [-t seconds] [-s seed]\n"
			       "  -q  the kernel keeps freed memory in quarantine (KASAN): do not look for leaks\n",
			       argv[0]);
			exit(KSFT_FAIL);
		}
	}
}

/**
 * nested_fuzz_main() - main() of a test with a hostile L1; does not return
 * @argc: as main() has it
 * @argv: as main() has it
 * @one_vm: makes a VM, runs it, and frees it; with another seed each time
 */
void nested_fuzz_main(int argc, char *argv[],
		      void (*one_vm)(struct nested_fuzz *fuzz, u64 seed))
{
	struct options o = { .seed = time(NULL), .seconds = 5 };
	struct sigaction sa = { .sa_handler = on_alarm };
	u64 rounds = 0, unharmed = 0, h = 1;
	struct nested_fuzz fuzz = { 0 };
	struct kvm_vcpu *witness;
	struct kvm_vm *vm;
	long before = 0, lost;
	time_t end;

	parse(&o, argc, argv);
	end = time(NULL) + o.seconds;

	ksft_print_header();
	if (!nested_supported())
		ksft_exit_skip("KVM does not offer the H extension, see kvm.nested\n");
	ksft_set_plan(3);
	/* Inherited by the threads of the test */
	mask_alarm(SIG_BLOCK);
	sigaction(SIGALRM, &sa, NULL);
	ksft_print_msg("seed %lu\n", (unsigned long)o.seed);

	vm = vm_create_with_one_vcpu(&witness, witness_code);
	while (time(NULL) < end || rounds < 4) {
		/* The first rounds fill caches */
		if (rounds == 3)
			before = free_memory();
		one_vm(&fuzz, o.seed++);
		rounds++;
		unharmed += witness_ok(witness, &h);
	}
	lost = lost_memory(before);
	kvm_vm_free(vm);

	ksft_print_msg("%lu VMs: KVM_RUN failed in %lu, %lu took too long\n",
		       rounds, fuzz.errors, fuzz.stuck);
	ksft_print_msg("L2 was entered %lu times, and got %lu pages\n",
		       fuzz.entries, fuzz.maps);
	/* Else all this was for nothing */
	ksft_test_result(fuzz.entries > 0, "L1 entered L2\n");
	ksft_test_result(unharmed == rounds, "another VM did not notice\n");
	ksft_print_msg("%ld KiB less memory than before\n", lost);
	if (o.quarantine)
		ksft_test_result_skip("no memory was lost: it is in quarantine\n");
	else
		ksft_test_result(lost < LEAK_TOLERANCE_KB, "no memory was lost\n");
	ksft_finished();
}
