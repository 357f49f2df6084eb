//! Numbers that are copied to the host while it goes on.

use std::sync::Mutex;

use candle_core::{
    DType, Error, Result, Storage, Tensor,
    cuda_backend::{
        DeviceId,
        cudarc::driver::{CudaEvent, CudaSlice, PinnedHostSlice},
    },
};

use super::device;

/// A number of the host's memory that the device writes, and when it has: cudarc's own event of the memory
/// is not recorded without its tracking, which a device of one stream goes without.
struct Slot {
    device: DeviceId,
    value: PinnedHostSlice<f32>,
    written: CudaEvent,
}

/// Slots that nobody waits for, a few for each device that was opened: to take a new one stops the device.
static FREE: Mutex<Vec<Slot>> = Mutex::new(Vec::new());

/// A scalar on its way from a device.
pub(crate) struct Copied(Option<Slot>);

impl Copied {
    /// Puts the copy behind what the device has been given so far.
    pub(crate) fn new(x: &Tensor) -> Result<Self> {
        let x = x.detach().to_dtype(DType::F32)?;
        let (device, (storage, layout)) = (device(&x)?, x.storage_and_layout());
        let (Storage::Cuda(storage), 1) = (&*storage, x.elem_count()) else {
            candle_core::bail!("not a scalar on a CUDA device: {:?}", x.shape())
        };
        let stream = device.cuda_stream();
        let found = FREE.lock().ok().and_then(|mut free| {
            let at = free.iter().position(|slot| slot.device == device.id())?;
            Some(free.swap_remove(at))
        });
        let mut slot = match found {
            Some(slot) => slot,
            None => {
                let context = stream.context();
                // SAFETY: it is read only after the device has written it.
                let value = unsafe { context.alloc_pinned_with_flags(1, 0) };
                let written = context.new_event(None).map_err(Error::wrap)?;
                Slot { device: device.id(), value: value.map_err(Error::wrap)?, written }
            }
        };
        let values: &CudaSlice<f32> = storage.as_cuda_slice()?;
        let at = layout.start_offset();
        stream.memcpy_dtoh(&values.slice(at..=at), &mut slot.value).map_err(Error::wrap)?;
        slot.written.record(&stream).map_err(Error::wrap)?;
        Ok(Self(Some(slot)))
    }

    /// Waits for the number.
    pub(crate) fn wait(self) -> Result<f64> {
        let Some(slot) = &self.0 else { candle_core::bail!("a number that was read") };
        slot.written.synchronize().map_err(Error::wrap)?;
        Ok(f64::from(slot.value.as_slice().map_err(Error::wrap)?[0]))
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // The device may not have written yet, and must before another number comes there.
        if let Some(slot) = self.0.take()
            && slot.written.synchronize().is_ok()
            && let Ok(mut free) = FREE.lock()
        {
            free.push(slot);
        }
    }
}
