/* tandem reproduce bus: who gets how much of the DRAM, alone and together, by the bus model. */
#include <math.h>
#include <stddef.h>

#include "experiments/command.h"
#include "experiments/published.h"
#include "experiments/reproduce.h"
#include "hwmodels/bus.h"
#include "hwmodels/device.h"

#define GB 1e9

struct inputs {
    double gpu, cpu, npu_dma, cpu_npu;
    struct published_range npu_qnn, gpu_npu;
    double halo_gpu, halo_npu, halo_gpu_beside, halo_npu_beside;
};

static const struct published_field fields[] = {
    {"heteroinfer.gpu", "GB/s", offsetof(struct inputs, gpu), false},
    {"heteroinfer.npu", "GB/s", offsetof(struct inputs, npu_qnn), true},
    {"heteroinfer.together", "GB/s", offsetof(struct inputs, gpu_npu), true},
    {"powerinfer2.cpu", "GB/s", offsetof(struct inputs, cpu), false},
    {"powerinfer2.npu", "GB/s", offsetof(struct inputs, npu_dma), false},
    {"powerinfer2.together", "GB/s", offsetof(struct inputs, cpu_npu), false},
    {"strix_halo.gpu", "GB/s", offsetof(struct inputs, halo_gpu), false},
    {"strix_halo.npu", "GB/s", offsetof(struct inputs, halo_npu), false},
    {"strix_halo.gpu_beside", "GB/s", offsetof(struct inputs, halo_gpu_beside), false},
    {"strix_halo.npu_beside", "GB/s", offsetof(struct inputs, halo_npu_beside), false},
    {.path = NULL}};

static void put(struct reproduce_context *c, const char *cell, double published, double got,
                const char *role, double low, double high)
{
    reproduce_cell(c, "bus", cell, published, got / GB, role, role[0] == 'p' ? "zero-fit" : "all",
                   low, high);
}

/* Two paths of a device that ask for all they can get: each alone, and both. */
static int pair(const struct device *d, const char *one, const char *two, double alone[2],
                double beside[2], struct err *e)
{
    struct bus_flow f[2] = {{platform_path(&d->platform, one), -1, 0},
                            {platform_path(&d->platform, two), -1, 0}};
    if (f[0].path < 0 || f[1].path < 0)
        return err_set(e, ERR_SCHEMA, "%s has no path %s", d->name, f[0].path < 0 ? one : two);
    bus_rates(&d->platform.bus, f, 2);
    for (int i = 0; i < 2; i++) {
        beside[i] = f[i].bytes_per_s;
        bus_rates(&d->platform.bus, &f[i], 1);
        alone[i] = f[i].bytes_per_s;
    }
    return ERR_OK;
}

static int phone(struct reproduce_context *c, const struct inputs *in, struct err *e)
{
    char path[1024];
    struct device d;
    double alone[2], beside[2];
    const char *file = "hwmodels/devices/redmi-k70-pro.yaml";
    if (!command_shipped(file, path, sizeof path))
        return err_at(e, ERR_IO, file, 0, 0, "is not here nor beside the program");
    int rc = device_load(path, NULL, 0, c->arena, &d, e);
    if (!rc)
        rc = pair(&d, "gpu", "npu-qnn", alone, beside, e);
    if (rc)
        return rc;
    put(c, "8 Gen 3, GPU alone, GB/s", in->gpu, alone[0], "calibrated", NAN, NAN);
    put(c, "8 Gen 3, NPU by QNN alone, GB/s", (in->npu_qnn.low + in->npu_qnn.high) / 2, alone[1],
        "calibrated", in->npu_qnn.low, in->npu_qnn.high);
    put(c, "8 Gen 3, GPU and NPU by QNN, GB/s", (in->gpu_npu.low + in->gpu_npu.high) / 2,
        beside[0] + beside[1], "calibrated", in->gpu_npu.low, in->gpu_npu.high);
    rc = pair(&d, "cpu", "npu-dma", alone, beside, e);
    if (rc)
        return rc;
    put(c, "8 Gen 3, CPU alone, GB/s", in->cpu, alone[0], "calibrated", NAN, NAN);
    put(c, "8 Gen 3, NPU by DMA alone, GB/s", in->npu_dma, alone[1], "predicted", NAN, NAN);
    put(c, "8 Gen 3, CPU and NPU by DMA, GB/s", in->cpu_npu, beside[0] + beside[1], "predicted",
        NAN, NAN);
    return ERR_OK;
}

/* The shares of the two under the published total, which says nothing of how it is split. */
static void shares(struct reproduce_context *c, const struct inputs *in)
{
    struct platform_path path[2] = {{.name = "gpu"}, {.name = "npu"}};
    struct platform_bus bus = {.n_paths = 2, .path = path};
    struct bus_flow f[2] = {{0, -1, 0}, {1, -1, 0}};
    path[0].bytes_per_s.value = (int64_t)(in->halo_gpu * GB);
    path[1].bytes_per_s.value = (int64_t)(in->halo_npu * GB);
    bus.dram_bytes_per_s.value = path[0].bytes_per_s.value;
    bus.shared_bytes_per_s.value = (int64_t)((in->halo_gpu_beside + in->halo_npu_beside) * GB);
    bus_rates(&bus, f, 2);
    put(c, "Strix Halo, GPU beside the NPU, GB/s", in->halo_gpu_beside, f[0].bytes_per_s, "shown",
        NAN, NAN);
    put(c, "Strix Halo, NPU beside the GPU, GB/s", in->halo_npu_beside, f[1].bytes_per_s, "shown",
        NAN, NAN);
    path[0].priority = 1;
    bus_rates(&bus, f, 2);
    reproduce_note(c,
                   "Strix Halo, the total given: fair shares leave the NPU all of its %.1f GB/s, a "
                   "GPU that goes first %.1f;\nmeasured are %.1f: both give way there, which the "
                   "model has no means for\n",
                   in->halo_npu, f[1].bytes_per_s / GB, in->halo_npu_beside);
}

static int run(struct reproduce_context *c, struct err *e)
{
    char path[1024];
    struct inputs in;
    int rc = reproduce_file("bus", path, sizeof path, e);
    if (!rc)
        rc = published_read(path, "bus", fields, &in, c->arena, e);
    if (rc)
        return rc;
    reproduce_note(c, "caps and totals as the Redmi K70 Pro's file has them, shares max-min fair; "
                      "what the file was made from is\ncalibrated. An NPU with priority: tandem "
                      "reproduce negatives, an application beside an NPU model\n");
    rc = phone(c, &in, e);
    if (!rc)
        shares(c, &in);
    return rc;
}

const struct reproduction reproduce_bus = {
    .name = "bus",
    .source = "HeteroInfer, PowerInfer-2 and hrx-rs: bandwidth alone and together",
    .summary = "processors that share the DRAM: published pairs by the bus model",
    .files_only = true,
    .run = run};
