// What the kernels share. Arguments come in one order: results, operands, numbers, sizes.

typedef unsigned int u32;

#define KERNEL extern "C" __global__ void
// The element of this thread, for kernels with a thread for each.
#define ELEMENT (blockIdx.x * blockDim.x + threadIdx.x)

// Threads of a block that sums a row, and of one that sums a channel of maps.
#define LINE 256
#define WIDE 1024
// Columns of a block that sums columns, and its threads for each.
#define LANES 8
#define ROWS 64

__device__ __forceinline__ float logistic(float x) {
    return 1.0f / (1.0f + expf(-x));
}

__device__ __forceinline__ float silu_slope(float x) {
    float gate = logistic(x);
    return gate * (1.0f + x * (1.0f - gate));
}

__device__ __forceinline__ float softplus(float x) {
    // Not a number is neither above nor below.
    return x != x ? x : fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x)));
}

// Not a number if one of them is none.
__device__ __forceinline__ float larger(float a, float b) {
    return a < b || b != b ? b : a;
}

// The sum over a block of whole warps, for all of its threads.
template <typename T>
__device__ __forceinline__ T block_sum(T x) {
    __shared__ T parts[WIDE / 32];
    for (int step = 16; step > 0; step /= 2) {
        x += __shfl_xor_sync(0xffffffffu, x, step);
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        parts[threadIdx.x / 32] = x;
    }
    __syncthreads();
    T sum = 0;
    for (u32 i = 0; i < blockDim.x / 32; ++i) {
        sum += parts[i];
    }
    return sum;
}

// The sum over the ROWS threads of a lane, for all of them: first of those in a warp.
__device__ __forceinline__ float lane_sum(float x) {
    __shared__ float parts[ROWS * LANES / 32][LANES];
    for (int step = LANES; step < 32; step *= 2) {
        x += __shfl_xor_sync(0xffffffffu, x, step);
    }
    __syncthreads();
    if (threadIdx.y % (32 / LANES) == 0) {
        parts[threadIdx.y * LANES / 32][threadIdx.x] = x;
    }
    __syncthreads();
    float sum = 0.0f;
    for (int i = 0; i < ROWS * LANES / 32; ++i) {
        sum += parts[i][threadIdx.x];
    }
    return sum;
}

// One over the deviation, and the factor of its derivative: see `Eps::scale_and_pull`.
__device__ __forceinline__ float2 scale_and_pull(float variance, float eps, u32 on_deviation) {
    if (!on_deviation) {
        return make_float2(1.0f / sqrtf(variance + eps), 1.0f);
    }
    float root = sqrtf(variance), deviation = root + eps;
    return make_float2(1.0f / deviation, root > 0.0f ? deviation / root : 0.0f);
}
