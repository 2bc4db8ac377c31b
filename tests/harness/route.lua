-- What the harness's Orthanc does by itself: route CT on, and on request keep a sender waiting.

-- A hospital's routing rule: every CT series that has stopped growing goes to the node. As a
-- job, so that a node that is slow or down does not block Orthanc.
function OnStableSeries(series, tags, metadata)
  if tags['Modality'] == 'CT' then
    RestApiPost('/modalities/node/store',
                DumpJson({ Resources = { series }, Synchronous = false }, true))
  end
end

local folder = os.getenv('MSK_HARNESS_FOLDER')

local function exists(name)
  local file = io.open(folder .. '/' .. name)
  if file then file:close() end
  return file ~= nil
end

-- While a file `hold` lies in the folder, the answer to a C-STORE of a segmentation waits, and
-- `holding` says so: the moment at which the kill trials pull the plug on the sender.
function ReceivedInstanceFilter(dicom, origin, info)
  if dicom['Modality'] == 'SEG' and exists('hold') then
    io.open(folder .. '/holding', 'w'):close()
    for _ = 1, 600 do
      if not exists('hold') then break end
      os.execute('sleep 0.05')
    end
    os.remove(folder .. '/holding')
  end
  return true
end
