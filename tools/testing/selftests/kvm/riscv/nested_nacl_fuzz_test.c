// SPDX-License-Identifier: GPL-2.0-only
/*
 * SBI nested acceleration: an L1 that does what no hypervisor should.
 *
 * Random calls with random parameters find random contents in shared memory, which
 * another vCPU of L1 scribbles over, and which the host takes away at times. L2
 * is entered with whatever is there. The host has to survive, another VM must not
 * notice, and all memory has to come back; what L1 sees does not matter. Run it on
 * a kernel with KASAN and lockdep, for ten minutes or so (-q -t 600).
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "kvm_util.h"
#include "processor.h"
#include "nested.h"
#include "nested_fuzz.h"
#include "nested_nacl.h"
#include "ucall_common.h"

/* Memory that cannot be written */
#define RO_GPA			0x310000000UL
#define RO_SLOT			4

static struct nested_ctx ctx;
static u64 *const shmem = (void *)SHMEM_GPA;

/* --- L1 --------------------------------------------------------------------- */

/* Random, but often something that nearly makes sense */
static u64 rnd_value(u64 *s)
{
	switch (rnd(s) % 8) {
	case 0:
		return 0;
	case 1:
		return ~0UL;
	case 2:
		return BIT(rnd(s) % 64);
	case 3:
		return NESTED_L2_ADDR + rnd(s) % (2 * NESTED_TEST_PAGES) * 4096;
	case 4:
		return rnd(s) % 4096;
	case 5:
		return nested_hgatp(rnd(s) % 32);
	case 6:
		return HSTATUS_SPV | (rnd(s) & 0x7003c0);
	default:
		return rnd(s);
	}
}

static u64 rnd_config(u64 *s)
{
	return HFENCE_CONFIG(rnd(s) % 16, rnd(s) % 4 ? rnd(s) % 20 : rnd(s) % 128,
			     rnd(s) % 4, rnd(s) & 0xffff) | (rnd(s) % 4 ? 0 : rnd(s));
}

/* Where L1 says that its memory is */
static u64 rnd_gpa(u64 *s)
{
	static const u64 gpas[] = {
		SHMEM_GPA, SHMEM_GPA + 4096, SHMEM_GPA - 4096, RO_GPA, NESTED_MMIO_GPA,
		NESTED_TEST_GPA, -4096UL, -3 * 4096UL, SHMEM_GPA | BIT(60), ~0UL,
	};

	switch (rnd(s) % 4) {
	case 0:
		return gpas[rnd(s) % ARRAY_SIZE(gpas)];
	case 1:
		return NESTED_TEST_GPA + rnd(s) % (NESTED_TEST_PAGES + 16) * 4096;
	case 2:
		/* Its own G-stage page tables */
		return nested_pgt.gpa + rnd(s) % NESTED_NR_TABLES * 4096;
	default:
		/* Not where L1 itself is */
		return rnd_value(s) | BIT(33);
	}
}

static void rnd_word(u64 *s)
{
	unsigned int i;

	switch (rnd(s) % 4) {
	case 0:
		i = rnd(s) % NR_HFENCES;
		WRITE_ONCE(shmem[HFENCE_WORD(i) + 1], rnd_value(s) >> rnd(s) % 64);
		WRITE_ONCE(shmem[HFENCE_WORD(i) + 3], rnd_value(s) >> rnd(s) % 64);
		WRITE_ONCE(shmem[HFENCE_WORD(i)], rnd_config(s));
		break;
	case 1:
		WRITE_ONCE(shmem[DIRTY_WORD + rnd(s) % 16], rnd_value(s));
		break;
	case 2:
		/* The CSRs that there are have low numbers */
		WRITE_ONCE(shmem[CSR_WORD(0x200 | (rnd(s) & 0xc00)) + rnd(s) % 128],
			   rnd_value(s));
		break;
	default:
		WRITE_ONCE(shmem[rnd(s) % (512 * SHMEM_PAGES)], rnd_value(s));
		break;
	}
}

#define CSR_CASE(__i, __n)						\
	case __i:							\
		csr_write(__n, rnd_value(s));				\
		break

static void rnd_csr(u64 *s)
{
	switch (rnd(s) % 12) {
	CSR_CASE(0, 0x200); CSR_CASE(1, 0x204); CSR_CASE(2, 0x280);
	CSR_CASE(3, 0x600); CSR_CASE(4, 0x602); CSR_CASE(5, 0x603);
	CSR_CASE(6, 0x604); CSR_CASE(7, 0x605); CSR_CASE(8, 0x60a);
	CSR_CASE(9, 0x645); CSR_CASE(10, 0x680); CSR_CASE(11, 0x643);
	}
}

static void rnd_call(u64 *s)
{
	u64 fid = rnd(s) % 8, arg = rnd_value(s);

	switch (fid) {
	case SET_SHMEM:
		nacl_call(fid, rnd_gpa(s), rnd(s) % 4 ? 0 : rnd_value(s),
			  rnd(s) % 4 ? 0 : rnd_value(s));
		break;
	case SYNC_CSR:
		if (rnd(s) % 2)
			arg = rnd(s) % 2 ? -1UL : 0x200 | (rnd(s) & 0xcff);
		nacl_call(fid, arg, 0, 0);
		break;
	case SYNC_HFENCE:
		if (rnd(s) % 2)
			arg = rnd(s) % 2 ? -1UL : rnd(s) % 64;
		nacl_call(fid, arg, 0, 0);
		break;
	case SYNC_SRET:
		/* Takes preparation */
		break;
	default:
		nacl_call(rnd(s) % 4 ? fid : arg, rnd_value(s), rnd_value(s), rnd_value(s));
		break;
	}
}

/* All registers come from shared memory; a break, should it not be in L2 */
asm(".option push\n"
	".option norvc\n"
	".balign 4\n"
	"l2_code:\n"
	"ecall\n"
	"ebreak\n"
	"j l2_code\n"
	".option pop\n");

extern char l2_code[];

static void enter_l2(u64 *s)
{
	nested_init(&ctx, (void *)l2_code);
	if (rnd(s) % 8 == 0)
		ctx.sepc = rnd_value(s);
	ctx.hstatus |= rnd_value(s) & 0x7003c0;
	if (rnd(s) % 2)
		csr_write(CSR_HGATP, nested_hgatp(rnd(s) % 4));
	if (rnd(s) % 2)
		csr_write(CSR_VSATP, 0);
	if (rnd(s) % 2)
		csr_write(CSR_HSTATUS, ctx.hstatus);
	/* The timer brings L1 back, on a slow host often before L2 gets anywhere */
	csr_set(CSR_SIE, BIT(5));
	csr_write(CSR_STIMECMP, csr_read(CSR_TIME) + (500 << rnd(s) % 9));
	if (rnd(s) % 4)
		nested_run_sync_sret(&ctx);
	else
		nested_run(&ctx);
	csr_write(CSR_STIMECMP, -1UL);
	csr_clear(CSR_SIE, BIT(5));
	/* An SRET of the trap handler must not leave L1 */
	csr_write(CSR_HSTATUS, 0);
}

static void l1_code(u64 s)
{
	u64 i, n;

	for (i = 1; ; i++) {
		if (rnd(&s) % 2)
			nacl_call(SET_SHMEM, SHMEM_GPA, 0, 0);
		for (n = rnd(&s) % 32; n; n--)
			rnd_word(&s);
		for (n = rnd(&s) % 4; n; n--)
			rnd_csr(&s);
		for (n = rnd(&s) % 8; n; n--)
			rnd_call(&s);
		csr_write(CSR_HSTATUS, 0);
		if (rnd(&s) % 2)
			enter_l2(&s);
		if (i % 16 == 0)
			GUEST_SYNC(0);
	}
}

/* Another vCPU */
static void l1_scribble(u64 s)
{
	u64 *root = nested_pgt.mem;
	int i;

	for (;;) {
		for (i = 0; i < 2000; i++)
			rnd_word(&s);
		/* The entry for the code of L2 is the first, leave that alone */
		WRITE_ONCE(root[1 + rnd(&s) % 2047], rnd(&s) % 4 ? rnd_value(&s) : 0);
		GUEST_SYNC(0);
	}
}

/* --- The host ------------------------------------------------------------------ */

static atomic_bool stop;

static void *run_scribble(void *arg)
{
	struct kvm_vcpu *vcpu = arg;

	/* It may be at the shared memory while that is not there */
	while (!atomic_load(&stop)) {
		if (__vcpu_run(vcpu) && errno != EINTR)
			break;
	}
	return NULL;
}

/* What a host does to the memory of its guests, and to their vCPUs */
static void *disturb(void *arg)
{
	struct kvm_vcpu *vcpu = ((void **)arg)[0];
	struct userspace_mem_region *slot;
	struct kvm_userspace_memory_region2 region;
	struct kvm_vm *vm = vcpu->vm;
	pthread_t thread = *(pthread_t *)((void **)arg)[1];
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	u64 s = (u64)vm ^ time(NULL);
	unsigned long dirty[2];
	cpu_set_t set;
	u32 nr;

	while (!atomic_load(&stop)) {
		nr = SHMEM_SLOT + rnd(&s) % 2;
		slot = memslot2region(vm, nr);
		switch (rnd(&s) % 5) {
		case 0:
			region = slot->region;
			region.memory_size = 0;
			vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &region);
			vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &slot->region);
			break;
		case 1:
			madvise(slot->host_mem, slot->region.memory_size, MADV_DONTNEED);
			break;
		case 2:
			slot->region.flags ^= KVM_MEM_LOG_DIRTY_PAGES;
			vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &slot->region);
			break;
		case 3:
			if (slot->region.flags & KVM_MEM_LOG_DIRTY_PAGES)
				kvm_vm_get_dirty_log(vm, nr, dirty);
			break;
		default:
			CPU_ZERO(&set);
			CPU_SET(rnd(&s) % cpus, &set);
			pthread_setaffinity_np(thread, sizeof(set), &set);
			break;
		}
		usleep(rnd(&s) % 2000);
	}
	return NULL;
}

static void one_vm(struct nested_fuzz *fuzz, u64 seed)
{
	pthread_t threads[2], self = pthread_self();
	struct kvm_vcpu *vcpu, *vcpu2;
	struct kvm_vm *vm;
	void *arg[2];
	cpu_set_t all;

	vm = nested_vm_create(&vcpu, l1_code, VM_MEM_SRC_ANONYMOUS);
	nacl_add_memory(vm);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, RO_GPA, RO_SLOT,
				    SHMEM_PAGES, KVM_MEM_READONLY);
	vcpu2 = vm_vcpu_add(vm, 1, l1_scribble);
	vcpu_init_vector_tables(vcpu2);
	nested_fuzz_skip_traps(vm);
	vcpu_set_reg(vcpu, NACL_REG(features), seed & 8 ? 0xf : seed >> 4 & 0xf);
	vcpu_args_set(vcpu, 1, seed * 2654435761UL | 1);
	vcpu_args_set(vcpu2, 1, seed * 40503UL | 1);

	TEST_ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
	arg[0] = vcpu;
	arg[1] = &self;
	atomic_store(&stop, false);
	pthread_create(&threads[0], NULL, run_scribble, vcpu2);
	pthread_create(&threads[1], NULL, disturb, arg);
	/* Long enough for a kernel that checks itself, on a busy machine */
	nested_fuzz_run(fuzz, vcpu, 3000, NULL);
	atomic_store(&stop, true);
	/* Whatever L1 made of the code of the other vCPU, a signal gets it out */
	while (pthread_tryjoin_np(threads[0], NULL)) {
		pthread_kill(threads[0], SIGUSR1);
		usleep(1000);
	}
	pthread_join(threads[1], NULL);
	sched_setaffinity(0, sizeof(all), &all);
	kvm_vm_free(vm);
}

static void on_signal(int sig)
{
}

int main(int argc, char *argv[])
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &sa, NULL);
	nested_fuzz_main(argc, argv, one_vm);
}
