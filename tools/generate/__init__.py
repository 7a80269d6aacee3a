"""Makes every generated file of the repository, or checks that none has drifted."""
